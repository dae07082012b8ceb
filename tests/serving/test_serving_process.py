"""A server in a process of its own: the gate through HTTP, the end of it, and the command line."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import trained
from served import export_tiny

from tltool.cli.app import run as run_command
from tltool.export.gate.check import check_artifact, reference_of
from tltool.recipe.export_section import GateSection
from tltool.serving.check import ServerProcess
from tltool.serving.exports import find_export
from tltool.serving.limits import Limits
from tltool.serving.server import listen
from tltool.support.errors import ExportError
from tltool.support.sums import write_sums
from tltool.tasks.classes import ClassTarget
from tltool.tasks.table import Task

ROOT = Path(__file__).resolve().parents[2]
MANY = 3_000


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return trained.image_classifier(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def export(made, tmp_path_factory):
    folder = export_tiny(made, tmp_path_factory.mktemp("image") / "export")
    return find_export(folder, name="flowers")


@pytest.fixture(scope="module")
def server(export):
    # So that several requests are needed for the held-out rows.
    with ServerProcess(export, Limits(request_bytes=30_000, rows=1000)) as process:
        yield process


def gate(made, export, server, **changes):
    made = replace(made, **changes)
    section = GateSection()
    reference = reference_of(made.model, made.held_out, made.task, made.preprocessing, section)
    return check_artifact(
        export.model, reference, precision="float32", gate=section, run=server.run
    )


def test_the_gate_passes_what_a_server_answers(made, export, server):
    before = server.log().count('"status": 200')
    report = gate(made, export, server)
    assert report.passed
    assert report.conclusive
    assert report.rows == len(made.held_out)
    assert server.log().count('"status": 200') >= before + 2


def test_the_gate_refuses_a_server_of_another_model(made, export, server):
    swapped = Task(made.task.spec, ClassTarget(made.task.labels[::-1]))
    assert not gate(made, export, server, task=swapped).passed
    other = made.preprocessing.model_copy(update={"mean": (123.0, 117.0, 104.0)})
    assert not gate(made, export, server, preprocessing=other).passed


@pytest.mark.parametrize(
    "make", [pytest.param(trained.text_rater, marks=pytest.mark.slow), trained.text_clock]
)
def test_the_gate_passes_numbers_that_a_server_answers(make, tmp_path):
    made = make()
    export = find_export(export_tiny(made, tmp_path / "export"))
    with ServerProcess(export, Limits()) as process:
        report = gate(made, export, process)
        assert report.passed
        assert report.conclusive
        std = made.task.target.std
        other = replace(made.task.target, mean=(made.task.target.mean[0] + std[0] / 50,
                                                *made.task.target.mean[1:]))  # fmt: skip
        assert not gate(made, export, process, task=replace(made.task, target=other)).passed


def test_a_row_that_the_server_refuses_fails_the_check(export, server):
    with pytest.raises(ExportError, match="The server answers 400: row 0: not a JPEG"):
        server.run(export.model, [b"no image"])


@pytest.mark.skipif(not shutil.which("curl"), reason="the examples use curl")
def test_the_examples_of_the_page_run(made, server, tmp_path):
    """docs/serving.md: each command is run as it stands, and answers what stands below it."""
    page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    block = r"^```{}\n((?:(?!```).*\n)+)```\n"
    pairs = re.compile(block.format("sh") + r"\n" + block.format("json"), re.MULTILINE)
    examples = pairs.findall(page)
    assert len(examples) == page.count("```json")
    shutil.copy(made.held_out.inputs[0], tmp_path / "photo.jpg")
    texts = find_export(export_tiny(trained.text_classifier(), tmp_path / "quickstart"))
    with ServerProcess(texts, Limits()) as text_server:
        for command, shown in examples:
            place = server if "/v1/models/flowers" in command else text_server
            script = command.replace("http://127.0.0.1:8501/", place.address)
            answer = json.loads(shell(script, tmp_path))
            assert shape_of(answer) == shape_of(json.loads(shown)), command


def shell(script, folder):
    command = ["bash", "-euc", script]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def shape_of(value):
    """JSON without its numbers and names of classes: what is in an answer whatever the model."""
    if isinstance(value, dict):
        return {key: shape_of(inner) for key, inner in sorted(value.items())}
    if isinstance(value, list):
        return [shape_of(value[0])] if value else []
    return type(value).__name__


def test_a_request_under_way_is_finished_at_the_end(made, export):
    photo = base64.b64encode(Path(made.held_out.inputs[0]).read_bytes()).decode()
    body = json.dumps({"instances": [{"b64": photo}] * MANY}).encode()
    answers = []
    with ServerProcess(export, Limits(rows=MANY, request_bytes=len(body))) as server:

        def ask():
            answers.append(server.ask("POST", "/v1/models/flowers:predict", body))

        asking = threading.Thread(target=ask)
        asking.start()
        while b"tltool_predict_rows_count 1.0" not in server.ask("GET", "/metrics")[1]:
            assert not answers, "the request was over before the server could be stopped"
            time.sleep(0.005)
        server.process.send_signal(signal.SIGTERM)
        asking.join()
        assert server.process.wait(60) == 0
        log = [json.loads(line) for line in server.log().splitlines()]
        assert server.process.stdout.read() == f"flowers, version 1, is ready: {server.address}\n"
    ((status, content),) = answers
    assert status == 200
    assert len(json.loads(content)["predictions"]) == MANY
    assert [line["event"] for line in log[-2:]] == ["request", "stopped"]


def test_a_model_that_cannot_be_loaded_ends_the_server(export, tmp_path):
    folder = Path(shutil.copytree(export.folder, tmp_path / "damaged"))
    for file in (folder / "model" / "variables").iterdir():
        file.unlink()
    write_sums(folder)
    told = r"it ended with exit code 2\. .*cannot be loaded.*hint: export again"
    with pytest.raises(ExportError, match=told), ServerProcess(find_export(folder), Limits()):
        pass


def test_what_cannot_be_served_is_told(export, tmp_path, capsys, monkeypatch):
    run = tmp_path / "runs" / "mine" / "3"
    run.mkdir(parents=True)
    (run / "run.json").write_text('{"format": 1, "status": "finished", "created": "now"}')
    assert run_command(["serve", str(run.parent)]) == 2
    assert f"tltool export {run} --format saved_model" in capsys.readouterr().err
    assert run_command(["serve", str(tmp_path / "nowhere")]) == 2
    assert "There is no run" in capsys.readouterr().err
    assert run_command(["serve", str(export.folder), "--name", "a/b"]) == 2
    assert "cannot stand in an address" in capsys.readouterr().err
    assert run_command(["serve", str(export.folder), "--check"]) == 2
    assert "in no run's folder" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert run_command(["serve", str(export.folder)]) == 2
    assert "pip install 'tltool[serve]'" in capsys.readouterr().err


@pytest.mark.parametrize(("passed", "code"), [(True, 0), (False, 1)])
def test_the_exit_code_says_whether_the_check_passed(export, passed, code, monkeypatch):
    from tltool.serving import check

    limits = []

    def checked(_, found, rows_of):
        run = SimpleNamespace(rows=lambda data, **how: (data, how))
        limits.append((found.rows, *rows_of(run)))
        return SimpleNamespace(passed=passed)

    monkeypatch.setattr(check, "check_served", checked)
    command = ["serve", str(export.folder), "--check", "--max-batch", "7", "--data", "rows.csv"]
    assert run_command([*command, "--quoting", "none"]) == code
    assert limits == [(7, "rows.csv", {"quoting": "none"})]


def test_an_address_that_is_taken_is_told(export, server, capsys):
    port = server.address.rstrip("/").rpartition(":")[2]
    assert run_command(["serve", str(export.folder), "--port", port]) == 2
    assert f"127.0.0.1:{port} cannot be listened on" in capsys.readouterr().err


def test_answers_are_sent_without_delay():
    """An answer goes out in two parts; the second must not wait for the first's receipt."""

    async def delayed():
        accepted = asyncio.get_running_loop().create_future()
        with listen("127.0.0.1", 0) as listening:
            server = await asyncio.start_server(lambda _, w: accepted.set_result(w), sock=listening)
            _, client = await asyncio.open_connection(*listening.getsockname())
            writer = await accepted
            found = writer.get_extra_info("socket").getsockopt(
                socket.IPPROTO_TCP, socket.TCP_NODELAY
            )
            for end in (writer, client):
                end.close()
                await end.wait_closed()
            server.close()
            return not found

    assert not asyncio.run(delayed())


def test_a_run_is_served_by_its_name_and_number(export, tmp_path):
    run = tmp_path / "runs" / "flowers" / "7"
    exported = run / "exports" / "saved_model"
    shutil.copytree(export.folder, exported)
    (run / "run.json").write_text('{"format": 1, "status": "finished", "created": "now"}')
    for given in (run.parent, run, exported, exported / "model"):
        found = find_export(given)
        assert (found.name, found.version) == ("flowers", 7)
        assert found.model.resolve() == (exported / "model").resolve()
    assert find_export(run, name="other").name == "other"
    outside = find_export(export.folder)
    assert (outside.name, outside.version) == ("export", 1)
