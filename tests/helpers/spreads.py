"""What stands for other processes and machines in tests."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

from tltool.support.spread import Spread


class Pickled(Spread):
    """Calls in this process that get and give nothing but what pickle carries.

    Args:
        folder: What the calls have as working folder, as on another machine.
    """

    elsewhere = True
    width = 2

    def __init__(self, folder: Path | None = None):
        self.calls = 0
        self._folder = folder

    def map(self, function, items, *, computes=False):
        sent = pickle.dumps(function)
        here = Path.cwd()
        for item in items:
            self.calls += 1
            os.chdir(self._folder or here)
            try:
                given = pickle.dumps(pickle.loads(sent)(pickle.loads(pickle.dumps(item))))
            finally:
                os.chdir(here)
            yield pickle.loads(given)


def check_item(item: int) -> int:
    """A call that refuses 3."""
    from tltool.support.errors import DataError

    if item == 3:
        raise DataError("3 is refused", hint="give another")
    return 2 * item
