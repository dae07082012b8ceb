from __future__ import annotations

import sys

import numpy as np
import pytest

from tltool.recipe.recipe import DataSection
from tltool.runs.nearest import Embedder, build_index, load_index
from tltool.support.errors import DataError, RunError
from tltool.tasks.classes import ClassTarget
from tltool.tasks.embeddings.kind import EmbeddingTarget
from tltool.tasks.embeddings.pairs import PairTarget
from tltool.tasks.metrics.retrieval import unit_rows
from tltool.tasks.table import TASKS, Task

TEXTS = ["east", "north", "west", "south", "north-east"]
ANGLES = dict(zip(TEXTS, (0, 90, 180, 270, 45), strict=True))


def outputs(examples):
    """A compass in place of a model."""
    angles = np.deg2rad([ANGLES[text] for text in examples.inputs])
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype("float32")


def compass(sum_="a"):
    task = Task(TASKS["text-embedding"], EmbeddingTarget(("a", "b"), 2))
    return Embedder("compass", task, DataSection(), sum_, outputs)


@pytest.fixture
def index(tmp_path):
    file = tmp_path / "texts.csv"
    file.write_text("text\n" + "\n".join([*TEXTS[:2], '""', *TEXTS[2:]]) + "\n")
    made, broken = build_index(compass(), file, tmp_path / "index")
    assert [row.origin for row in broken] == [f"{file}:4"]
    return made


def test_the_nearest_rows_of_a_text_come_first(index, tmp_path):
    (found,) = load_index(index.folder).search(compass(), ["north-east"], top=3)
    assert [near["input"] for near in found["neighbours"]] == ["north-east", "east", "north"]
    assert [near["similarity"] for near in found["neighbours"]] == pytest.approx(
        [1, 0.5**0.5, 0.5**0.5], abs=1e-5
    )
    assert found["neighbours"][1]["origin"] == f"{tmp_path / 'texts.csv'}:2"


def test_both_texts_of_each_row_are_found_by_a_model_of_pairs(tmp_path):
    task = Task(TASKS["text-embedding"].with_target("embedding_pair"), PairTarget(width=2))
    pairs = Embedder("compass", task, DataSection(input_columns=("from", "to")), "a", outputs)
    file = tmp_path / "pairs.csv"
    file.write_text("from,to\neast,north\nwest,south\n")
    made, _ = build_index(pairs, file, tmp_path / "index")
    assert made.rows == 4
    asked = tmp_path / "asked.csv"
    asked.write_text("from,to\nsouth,north-east\n")
    found = made.search(pairs, [str(asked)], top=1)
    assert [(one["input"], one["neighbours"][0]["input"]) for one in found] == [
        ("south", "south"), ("north-east", "east")]  # fmt: skip


def test_more_than_there_are_gives_all(index):
    (found,) = index.nearest([[1.0, 0.0]], top=99)
    assert len(found) == 5
    assert [found[place].input for place in (0, 1, -1)] == ["east", "north-east", "west"]


def test_one_text_is_not_searched_for_letter_by_letter(index):
    with pytest.raises(DataError, match="queries: several are asked for, received the str 'east'"):
        index.search(compass(), "east")
    with pytest.raises(DataError, match="top: one neighbour at least"):
        index.nearest([[1.0, 0.0]], top=0)


def test_vectors_of_another_width_are_refused(index):
    with pytest.raises(DataError, match=r"\(n, 2\) are needed. Received: \(1, 3\)"):
        index.nearest([[1.0, 0.0, 0.0]])


def test_another_model_than_the_one_that_made_it_is_refused(index):
    with pytest.raises(DataError, match="was made by compass"):
        index.search(compass("b"), ["east"])


def test_a_damaged_index_is_refused(index):
    (index.folder / "rows.jsonl").write_text("")
    with pytest.raises(RunError, match=r"rows\.jsonl has changed"):
        load_index(index.folder)


def test_a_folder_of_something_else_is_not_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match="is there and is no index"):
        build_index(compass(), "x.csv", tmp_path / "photos")
    with pytest.raises(RunError, match="is no index"):
        load_index(tmp_path / "photos")
    with pytest.raises(RunError, match="nowhere does not exist"):
        load_index(tmp_path / "nowhere")


def test_only_an_index_is_replaced(index, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.json").write_text("{}")
    (tmp_path / "site" / "letters.txt").write_text("dear")
    (index.folder / "notes.txt").write_text("mine")
    for folder in (tmp_path / "site", index.folder):
        with pytest.raises(DataError, match="is there and is no index, or holds other files"):
            build_index(compass(), TEXTS, folder)
    assert (tmp_path / "site" / "letters.txt").read_text() == "dear"
    (index.folder / "notes.txt").unlink()
    assert build_index(compass(), TEXTS[:2], index.folder)[0].rows == 2


def test_a_model_that_gives_no_vectors_is_refused(tmp_path):
    class Classifier:
        task = Task(TASKS["text-pair-classification"], ClassTarget(("a", "b")))

    with pytest.raises(DataError, match="gives no vectors") as caught:
        Embedder.load(Classifier())
    assert "task=text-embedding" in caught.value.hint


class Cloud:
    """500 texts with vectors by chance, in place of a model."""

    task = Task(TASKS["text-embedding"], EmbeddingTarget(("a", "b"), 12))
    texts = tuple(f"text {number}" for number in range(500))
    vectors = unit_rows(np.random.default_rng(0).normal(size=(500, 12)))

    @classmethod
    def embedder(cls):
        def outputs(examples):
            return cls.vectors[[cls.texts.index(text) for text in examples.inputs]]

        return Embedder("cloud", cls.task, DataSection(), "a", outputs)


@pytest.mark.parametrize(("factory", "found"), [("Flat", 1.0), ("HNSW16", 0.9)])
def test_an_index_of_faiss_finds_what_the_exact_search_does(tmp_path, factory, found):
    pytest.importorskip("faiss")
    exact, _ = build_index(Cloud.embedder(), Cloud.texts, tmp_path / "exact")
    build_index(Cloud.embedder(), Cloud.texts, tmp_path / "faiss", faiss=factory)
    queries = unit_rows(np.random.default_rng(1).normal(size=(40, 12)))
    index = load_index(tmp_path / "faiss")
    assert index.faiss == factory
    wanted, given = (
        [[near.origin for near in row] for row in made.nearest(queries, 5)]
        for made in (exact, index)
    )
    shared = [len({*one} & {*other}) / 5 for one, other in zip(wanted, given, strict=True)]
    assert np.mean(shared) >= found
    if found == 1:
        assert given == wanted
    near = index.nearest(queries[:1], 1)[0][0]
    row = Cloud.texts.index(near.input)
    assert near.similarity == pytest.approx(queries[0] @ Cloud.vectors[row], abs=1e-5)


def test_what_faiss_cannot_make_is_told_and_nothing_is_left(tmp_path):
    pytest.importorskip("faiss")
    for factory, rows in (("Nothing", 500), ("IVF64,Flat", 20)):
        with pytest.raises(DataError, match=f"Faiss can't make an index '{factory}' of {rows}"):
            build_index(Cloud.embedder(), Cloud.texts[:rows], tmp_path / "i", faiss=factory)
        assert not list(tmp_path.iterdir())


def test_an_index_of_faiss_needs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(DataError, match="Faiss is not installed") as caught:
        build_index(Cloud.embedder(), Cloud.texts, tmp_path / "i", faiss="Flat")
    assert "tltool[faiss]" in caught.value.hint
