"""Two workers of Ray Train on this machine; `make test-ray` runs this where Ray is installed."""

from __future__ import annotations

import os

import pytest
from together import history, run, status, write_recipe

pytest.importorskip("ray")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return write_recipe(tmp_path_factory.mktemp("ray"), "text")


def test_two_workers_of_ray_give_what_one_process_gives(recipe):
    storage = recipe.parent / "storage"
    done = run("launch", "--ray", "local", "--workers", 2, recipe, "name=ray", "--storage", storage,
               PYTHONPATH=os.environ.get("PYTHONPATH", ""))  # fmt: skip
    assert done.returncode == 0, done.stderr
    runs = recipe.parent / "runs"
    assert done.stdout.strip().endswith(str(runs / "ray" / "1"))
    assert status(runs / "ray" / "1") == "finished"
    assert any(storage.iterdir())
    one = run("finetune", recipe, "name=one")
    assert one.returncode == 0, one.stderr
    for row, other in zip(history(runs / "one" / "1"), history(runs / "ray" / "1"), strict=True):
        assert row == pytest.approx(other, abs=1e-5)


def test_what_a_worker_fails_of_is_told(recipe):
    done = run("launch", "--ray", "local", "--workers", 2, recipe, "data.label_column=nothing")
    assert done.returncode == 1
    assert "nothing" in done.stderr


def test_a_cluster_that_is_not_there_is_told(recipe):
    done = run("launch", "--ray", "127.0.0.1:1", recipe)
    assert done.returncode == 2
    assert "No Ray cluster can be reached at '127.0.0.1:1'" in done.stderr
