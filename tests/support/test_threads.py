from __future__ import annotations

import threading

import pytest

from tltool.support import threads
from tltool.support.threads import map_in_threads


def test_results_are_in_order_and_few_wait(monkeypatch):
    monkeypatch.setattr(threads, "_CHUNK", 4)
    begun = []
    results = map_in_threads(lambda item: begun.append(item) or 2 * item, range(11), 3)
    assert next(results) == 0
    assert len(begun) <= 4
    assert [0, *results] == [2 * item for item in range(11)]
    assert sorted(begun) == list(range(11))


def test_after_an_error_no_further_item_is_begun(monkeypatch):
    monkeypatch.setattr(threads, "_CHUNK", 4)
    begun = []

    def fail(item):
        begun.append(item)
        raise ValueError(item)

    with pytest.raises(ValueError, match="0"):
        list(map_in_threads(fail, range(100), 2))
    assert max(begun) < 4


def test_they_run_side_by_side():
    barrier = threading.Barrier(2, timeout=10)
    assert len(list(map_in_threads(lambda _: barrier.wait(), range(2), 2))) == 2
