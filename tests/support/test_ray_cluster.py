"""Work on a Ray cluster of this machine.

`make test-ray` runs these in an environment that has it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import keras
import pytest
import stored
import tiny
from command import cli, succeed
from spreads import check_item

from tltool.support import ray_cluster, stopping
from tltool.support.errors import DataError, DeviceError, WorkerError
from tltool.support.ray_cluster import spread_over

pytestmark = [
    pytest.mark.skipif(find_spec("ray") is None, reason="`make test-ray` installs what this needs"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning",
                               "ignore::ResourceWarning"),
]  # fmt: skip


def die_once(folder: Path, item: int) -> int:
    """Kills its process where nobody did so before."""
    mark = folder / f"{item}"
    if not mark.exists():
        mark.write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def die(item: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return item


def wait_on_the_second(folder: Path, item: int) -> int:
    """Waits for ever on the machine that says so; tells where it runs."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    (folder / f"on-{node}").touch()
    while (folder / f"wait-{node}").exists():
        time.sleep(0.1)
    time.sleep(0.5)
    return item


def make_importable(patch):
    """Has the machines of a cluster that is started then find what tests send there."""
    places = [str(Path(__file__).parent), str(Path(stored.__file__).parent)]
    patch.setenv("PYTHONPATH", os.pathsep.join([*places, os.environ.get("PYTHONPATH", "")]))


@pytest.fixture(scope="module")
def spread():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.MonkeyPatch.context() as patch:
        make_importable(patch)
        with spread_over("local") as cluster:
            assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
            yield cluster


def test_results_keep_their_order_and_errors_their_kind(spread):
    assert list(spread.map(check_item, [2, 1, 4, 0])) == [4, 2, 8, 0]
    with pytest.raises(DataError, match="3 is refused") as error:
        list(spread.map(check_item, [1, 3, 2]))
    assert error.value.hint == "give another"


def test_a_call_whose_process_died_is_made_again(spread, tmp_path):
    assert list(spread.map(partial(die_once, tmp_path), range(3))) == [0, 1, 2]
    assert len(list(tmp_path.iterdir())) == 3


def test_a_worker_that_dies_again_and_again_is_named(spread, monkeypatch, capsys):
    monkeypatch.setattr(ray_cluster, "_RETRIES", 1)
    named = rf"on {os.uname().nodename} \(.*process \d+\) died"
    with pytest.raises(WorkerError, match=named) as error:
        list(spread.map(die, [1]))
    assert error.value.exit_code == 1
    # Ray's own talk of it comes later, and must not be among a command's data.
    told, deadline = capsys.readouterr(), time.monotonic() + 60
    while "(raylet)" not in told.out + told.err and time.monotonic() < deadline:
        time.sleep(0.2)
        told = capsys.readouterr()
    assert "(raylet)" in told.err
    assert told.out == ""


def test_a_stop_that_was_asked_for_ends_the_calls(spread, monkeypatch):
    began = time.monotonic()
    results = spread.map(time.sleep, [0.0, 60.0, 60.0])
    next(results)
    monkeypatch.setattr(stopping, "_asked", 15)
    with pytest.raises(stopping.Stopped):
        next(results)
    monkeypatch.undo()
    assert list(spread.map(check_item, [1])) == [2]
    assert time.monotonic() - began < 50


def test_other_versions_are_refused(spread, monkeypatch):
    own = ray_cluster._versions()
    monkeypatch.setattr(ray_cluster, "_versions", lambda: {**own, "keras": "2.0"})
    with pytest.raises(DeviceError, match=f"has keras {own['keras']}"):
        list(spread.map(check_item, [1]))


def test_features_heads_and_ranking_are_those_of_one_machine(spread, tmp_path, monkeypatch):
    import presets

    presets.write_text_preset(tmp_path / "bert")
    presets.write_texts(tmp_path / "texts.csv", count=80)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"task: text-classification\nbackbone: {tmp_path / 'bert'}\n"
        f"data: {{train: {tmp_path / 'texts.csv'}}}\nschedule: [{{train: head, epochs: 2}}]\n"
    )
    answers = {}
    for place, flags in (("here", ()), ("there", ("--ray", "local"))):
        monkeypatch.setenv("TLTOOL_CACHE", str(tmp_path / place))
        tuned = succeed("tune-head", recipe, "--trials", 4, "--folds", 2, "--json", *flags)
        ranked = succeed("rank", recipe, "--backbone", tmp_path / "bert", "--json", *flags)
        assert ("Ray: " in tuned.err) == bool(flags)
        answers[place] = [
            [
                {k: v for k, v in trial.items() if k != "seconds"}
                for trial in tuned.json()["trials"]
            ],
            [{k: v for k, v in one.items() if k != "examples_per_second"} for one in ranked.json()],
            {path.read_bytes() for path in (tmp_path / place / "features").rglob("*.bin")},
        ]
    assert answers["here"] == answers["there"]


def test_trials_of_a_search_run_beside_each_other(spread, tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    import together

    import tltool

    monkeypatch.setenv("TLTOOL_CACHE", str(tmp_path / "cache"))
    recipe = tltool.Recipe.load(
        together.write_recipe(tmp_path, "text"),
        ["schedule.1.epochs=1", 'tune={"schedule.1.learning_rate": {low: 1e-4, high: 1e-2}}'],
    )
    found = tltool.tune(recipe, trials=spread.width + 1, spread=spread)
    assert [trial.state for trial in found.trials] == ["complete"] * (spread.width + 1)
    assert len({trial.settings["schedule.1.learning_rate"] for trial in found.trials}) > 2
    here = tltool.tune(recipe, trials=1)
    assert found.own.value == pytest.approx(here.own.value, rel=1e-3)


def test_predictions_are_those_of_one_machine(spread, tmp_path, monkeypatch):
    monkeypatch.setattr("tltool.runs.predict.BATCH_ROWS", 8)
    keras.utils.set_random_seed(3)
    folder = stored.write_run(tmp_path / "runs")
    (tmp_path / "texts.txt").write_text("\n".join(tiny.texts(30)[0]))
    here = succeed("predict", folder.path, tmp_path / "texts.txt")
    there = succeed("predict", folder.path, tmp_path / "texts.txt", "--ray", "local")
    assert here.out == there.out
    assert len(here.rows()) == 30


@pytest.mark.slow
def test_the_work_of_a_machine_that_died_goes_on_elsewhere(spread, tmp_path, monkeypatch):
    import ray
    from ray.cluster_utils import Cluster

    ray.shutdown()  # the module's: this is the last test that needs one
    make_importable(monkeypatch)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)
    (tmp_path / f"wait-{second.node_id}").touch()
    try:
        with spread_over(cluster.address) as both:
            assert both.machines == 2
            found = []
            function = partial(wait_on_the_second, tmp_path)
            work = threading.Thread(target=lambda: found.extend(both.map(function, range(6))))
            work.start()
            deadline = time.monotonic() + 120
            while not (tmp_path / f"on-{second.node_id}").exists():
                assert time.monotonic() < deadline
                time.sleep(0.1)
            cluster.remove_node(second, allow_graceful=False)
            work.join(timeout=180)
            assert found == [0, 1, 2, 3, 4, 5]
    finally:
        cluster.shutdown()


def test_nobody_at_an_address_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    import ray

    ray.shutdown()
    for address in ("127.0.0.1:9", "ray://127.0.0.1:9"):
        done = cli("predict", "runs/none", "text", "--ray", address)
        assert done.code == 2
    with pytest.raises(DeviceError, match=r"No Ray cluster can be reached at '127.0.0.1:9'"), \
            spread_over("127.0.0.1:9"):  # fmt: skip
        pass
