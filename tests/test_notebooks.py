"""The notebooks run from top to bottom, on the sample data, and keep no outputs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from presets import write_text_preset

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
NAMES = [path.name for path in NOTEBOOKS]


def cells(path: Path, kind: str) -> list:
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == kind]


def kept_outputs(path: Path) -> list[int]:
    """Numbers of the cells that hold what was run."""
    return [i for i, cell in enumerate(cells(path, "code")) if cell.outputs or cell.execution_count]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_is_valid_and_keeps_no_outputs(path):
    nbformat.validate(nbformat.read(path, as_version=4))
    assert kept_outputs(path) == []


def test_a_kept_output_is_found(tmp_path):
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell("1"),
            nbformat.v4.new_code_cell("2", execution_count=3),
            nbformat.v4.new_code_cell("3", outputs=[nbformat.v4.new_output("stream", text="3")]),
        ]
    )
    nbformat.write(notebook, tmp_path / "kept.ipynb")
    assert kept_outputs(tmp_path / "kept.ipynb") == [1, 2]


@pytest.mark.weights
@pytest.mark.slow
def test_the_quickstart_runs(tmp_path, monkeypatch):
    """With fewer tweets and a tiny backbone, in place of its parameters."""
    import nbclient

    path = ROOT / "docs" / "notebooks" / "quickstart.ipynb"
    notebook = nbformat.read(path, as_version=4)
    (parameters,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", ())]
    assert parameters.source == 'RECIPE = "quickstart"\nOVERRIDES = []'
    overrides = [
        f"backbone={write_text_preset(tmp_path / 'bert')}",
        "schedule=[{train: head, solver: exact}]",
        "data.max_examples=120",
        "export.formats=[litert]",
        "export.precisions=[float32]",
    ]
    parameters.source = f"RECIPE = 'quickstart'\nOVERRIDES = {overrides!r}"
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    resources = {"metadata": {"path": str(tmp_path)}}
    patience = {"timeout": None, "startup_timeout": 600}
    nbclient.NotebookClient(notebook, resources=resources, **patience).execute()
    said = "".join(
        str(output.get("text") or output.get("data"))
        for cell in notebook.cells
        for output in cell.get("outputs", ())
    )
    for words in (
        "sample:airline-tweets",
        "Result on the test split",
        "Two hours late",
        '<iframe title="The report"',
        "passed: True, largest difference",
        "'golden.json'",
    ):
        assert words in said
    assert (tmp_path / "model.zip").stat().st_size > 10_000
    (run,) = (tmp_path / "runs").glob("*/1")
    assert "Why " in (run / "report" / "index.html").read_text(encoding="utf-8")
