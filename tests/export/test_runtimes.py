"""Runtimes of the last years run the exports of every task, and give their golden examples.

Skipped where none is installed (`make test-runtimes` installs them, 8 GB).
"""

from __future__ import annotations

import pytest
import runtime_zoo

from tltool.export.contract import Contract
from tltool.export.formats.runtime import version_key

INSTALLED = runtime_zoo.installed()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not INSTALLED, reason="`make test-runtimes` installs what this needs"),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return runtime_zoo.make_exports(tmp_path_factory.mktemp("exports"))


@pytest.mark.parametrize("runtime", INSTALLED)
def test_golden_examples_come_out(folders, runtime):
    if runtime.startswith("onnxruntime"):
        pytest.importorskip("tf2onnx")
    asked = runtime_zoo.taken_by(runtime, folders)
    said = dict(zip(asked, runtime_zoo.ask(runtime, asked), strict=True))
    wrong = {
        f"{f.parent.name}: {f.name}": answer
        for f, answer in said.items()
        if not runtime_zoo.passes(runtime, f, answer)
    }
    assert wrong == {}
    assert asked


@pytest.mark.parametrize("runtime", INSTALLED)
def test_exports_say_that_the_runtime_is_new_enough(folders, runtime):
    if runtime.startswith("ai-edge-litert"):
        pytest.skip("it counts otherwise than TensorFlow Lite")
    for folder in runtime_zoo.taken_by(runtime, folders):
        oldest = Contract.read(folder).runtime.oldest
        assert version_key(oldest) <= runtime_zoo.version(runtime)
