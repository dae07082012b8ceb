"""What every contender shares, whatever is installed beside it: settings in, one JSON line out."""

from __future__ import annotations

import argparse
import csv
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any


def read_settings() -> dict[str, Any]:
    """The settings that `contest.run` passed on the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--settings", required=True, type=json.loads)
    return dict(parser.parse_args().settings)


def report(**values: Any) -> None:
    """Prints the result: the last line of stdout, a JSON object."""
    sys.stdout.write("\n" + json.dumps(values) + "\n")
    sys.stdout.flush()


class Stopwatch:
    """Wall time and user CPU time since it was made, worker processes that ended included."""

    def __init__(self) -> None:
        self._started, self._user = time.perf_counter(), _user_seconds()

    def read(self) -> dict[str, float]:
        """Both, in seconds."""
        wall = time.perf_counter() - self._started
        return {"wall_s": wall, "user_cpu_s": _user_seconds() - self._user}


def _user_seconds() -> float:
    own, children = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    return resource.getrusage(own).ru_utime + resource.getrusage(children).ru_utime


def read_table(path: str) -> tuple[list[str], list[str]]:
    """The inputs (texts, or paths of images) and the labels of a table with these two columns."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [row[0] for row in rows], [row[1] for row in rows]


def jpeg_files(folder: str) -> list[str]:
    """The paths of the JPEG files in a folder, sorted."""
    return sorted(map(str, Path(folder).glob("*.jpg")))
