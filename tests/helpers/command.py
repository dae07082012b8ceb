"""The command line, run in this process."""

from __future__ import annotations

import csv
import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

from tltool.cli.app import run


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str

    def json(self):
        return json.loads(self.out)

    def rows(self):
        return list(csv.DictReader(io.StringIO(self.out)))


def cli(*arguments) -> Done:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run([str(argument) for argument in arguments])
    done = Done(code, out.getvalue(), err.getvalue())
    assert "Traceback" not in done.err, done.err
    return done


def succeed(*arguments) -> Done:
    done = cli(*arguments)
    assert done.code == 0, done
    return done
