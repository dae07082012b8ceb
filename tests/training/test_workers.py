"""What one process can show of workers; see test_several_workers.py for several."""

from __future__ import annotations

import json
import socket

import numpy as np
import pytest
import tensorflow as tf

from tltool.recipe.recipe import Recipe
from tltool.support import stopping
from tltool.support.errors import DeviceError, RecipeError, TrainingError
from tltool.training import worker_steps, workers
from tltool.training.place import Place, tf_config
from tltool.training.worker_steps import sharing_of
from tltool.training.workers import Workers, joined


def recipe(**values) -> Recipe:
    training = {"distribution": "multi_worker", **values.pop("training", {})}
    return Recipe.of(
        task="text-classification", backbone="all-minilm-l6-v2", training=training, **values
    )


class OneOfTwo(Workers):
    """A worker whose chief is somewhere else, and says what a test has it say."""

    def __init__(self, brought, index=1):
        super().__init__(Place(("a:1", "b:2"), index, "a test"), object(), 1.0)
        self.brought = brought
        self.own = None

    def meet(self, stage, value=None):
        self.own = value
        return [self.brought, value] if self.index else [value, self.brought]


def test_alone_everything_is_ones_own():
    alone = Workers()
    assert alone.is_chief
    assert alone.meet("here", 3) == [3]
    assert alone.told("here", 4) == 4
    alone.compare("facts", {"a": 1})
    alone.dismiss()


def test_the_chief_alone_brings_what_is_told():
    other = OneOfTwo("the chief's")
    assert other.told("a folder", "mine") == "the chief's"
    assert other.own is None
    assert not other.is_chief


def test_each_name_is_of_one_worker():
    both = [OneOfTwo(None, index) for index in range(2)]
    names = [f"photo {number}.jpg" for number in range(50)]
    own = [{name for name in names if one.has(name)} for one in both]
    assert own[0] | own[1] == {*names}
    assert not own[0] & own[1]
    assert all(len(part) > 10 for part in own)
    assert Workers().has("anything")


def test_what_differs_between_workers_is_named_by_field():
    other = OneOfTwo({"training.seed": 1, "data.train": "a.csv"})
    with pytest.raises(RecipeError) as error:
        other.compare("the recipe", {"training.seed": 2, "data.train": "a.csv"})
    assert "training.seed: worker 0 has 1, worker 1 has 2" in error.value.message
    assert "data.train" not in error.value.message


def test_all_stop_where_one_was_asked_to():
    with stopping.stoppable():
        with pytest.raises(stopping.Agreed):
            OneOfTwo(True).check("phase 1")
        assert stopping.exit_code() == 143


def test_in_agreement_a_signal_of_ones_own_is_only_noted():
    with stopping.stoppable(), stopping.in_agreement():
        stopping.ask(15)
        stopping.check()
        assert stopping.asked() == 15


def test_without_a_place_there_is_no_training_by_several(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(DeviceError, match="neither is set") as error, joined(recipe(), {}):
        pass
    assert "tltool launch" in error.value.hint


def test_one_worker_trains_alone(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", tf_config(["localhost:1"], 0))
    with joined(recipe(), {}) as found:
        assert found.is_chief
        assert not found.are_several


def test_all_that_several_workers_cannot_do_is_told_at_once():
    asked = recipe(
        training={
            "devices": ["cpu:0"],
            "tokens_per_batch": 512,
            "jit": "always",
            "steps_per_execution": 4,
            "static_shapes": "always",
        },
        head={"search": True},
    )
    with pytest.raises(RecipeError) as error, joined(asked, {}):
        pass
    assert [fault.path for fault in error.value.faults] == [
        "training.devices",
        "training.tokens_per_batch",
        "training.static_shapes",
        "training.jit",
        "training.steps_per_execution",
        "head.search",
    ]


def test_a_port_in_use_is_named(monkeypatch):
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv("TF_CONFIG", tf_config([f"localhost:{port}", "other:1"], 0))
        with pytest.raises(DeviceError, match=f"can't listen on port {port}"), joined(recipe(), {}):
            pass


def test_what_another_worker_failed_of_is_said(monkeypatch):
    told = {"index": 0, "message": "The loss is nan.", "hint": "smaller steps", "signal": None}
    monkeypatch.setattr(workers, "get", lambda key, seconds: json.dumps(told))
    other = Workers(Place(("a:1", "b:2"), 1, "a test"), object(), 1.0)
    why = other.explained(RuntimeError("Collective ops is aborted"))
    assert isinstance(why, TrainingError)
    assert str(why) == "Worker 0 of 2 (a:1, the chief) has failed: The loss is nan."
    assert other.explained(why) is why


def test_a_fault_of_ones_own_is_told_to_the_others(monkeypatch):
    kept = {}
    monkeypatch.setattr(workers, "put", kept.__setitem__)
    monkeypatch.setattr(Workers, "_told_failure", lambda self: None)
    other = Workers(Place(("a:1", "b:2"), 1, "a test"), object(), 1.0)
    monkeypatch.setattr(workers, "abort", lambda message: None)
    own = TrainingError("No memory.", hint="smaller batches")
    assert other.explained(own) is own
    (text,) = kept.values()
    assert json.loads(text) == {"index": 1, "message": "No memory.", "hint": "smaller batches",
                                "signal": None}  # fmt: skip


def test_what_workers_sum_up_is_exact_whatever_its_type(monkeypatch):
    monkeypatch.setattr(worker_steps, "_PART_BYTES", 24)
    workers = OneOfTwo({"shape": [3, 7]}, index=0)
    workers.place = Place(("a:1",), 0, "a test")
    workers.strategy = tf.distribute.get_strategy()
    values = np.random.default_rng(0).integers(0, 256, (3, 7)).astype("uint8")
    found = values.copy()
    sharing = sharing_of(workers)
    sharing.summed("pixels", found)
    np.testing.assert_array_equal(found, values)
    workers.brought = {"shape": [3, 8]}
    with pytest.raises(RecipeError, match="differ in pixels"):
        sharing.summed("pixels", found)


def test_workers_divide_files_by_name_and_the_rest_by_place():
    both = [sharing_of(OneOfTwo(None, index)) for index in range(2)]
    files = [f"photo {number}.jpg" for number in range(40)]
    first, second = ([files[row] for row in one.own(files)] for one in both)
    assert sorted([*first, *second]) == sorted(files)
    assert {files[row] for row in range(20) if files[row] in first} == {
        files[:20][row] for row in both[0].own(files[:20])
    }
    assert [list(one.part(5)) for one in both] == [[0, 1], [2, 3, 4]]
    assert sharing_of(Workers()).part(5) == range(5)
