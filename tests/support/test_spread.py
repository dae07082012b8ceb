from __future__ import annotations

import pytest
from spreads import check_item

from tltool.support import stopping
from tltool.support.errors import DataError
from tltool.support.ray_cluster import spread_over
from tltool.support.spread import Processes, Spread


def test_calls_here_are_made_when_their_results_are_read():
    taken = []
    results = Spread().map(check_item, (taken.append(i) or i for i in (1, 2)))
    assert next(results) == 2
    assert taken == [1]
    assert list(results) == [4]


def test_a_stop_that_was_asked_for_ends_them(monkeypatch):
    monkeypatch.setattr(stopping, "_asked", 15)
    with pytest.raises(stopping.Stopped):
        list(Spread().map(check_item, [1]))


def test_processes_keep_the_order_and_the_kind_of_an_error():
    processes = Processes(2)
    assert list(processes.map(check_item, [2, 1, 4, 0])) == [4, 2, 8, 0]
    with pytest.raises(DataError, match="3 is refused") as error:
        list(processes.map(check_item, [1, 3]))
    assert error.value.hint == "give another"


def test_without_an_address_nothing_is_spread():
    with spread_over(None) as spread:
        assert spread is None
