"""Work on many rows in threads, a few of them at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_CHUNK = 512

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_threads(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Result]:
    """The function's results, in order, computed in threads.

    `Executor.map` makes an object for every item at once, which takes more
    memory than a row of a data set; here at most a few hundred are waiting.
    Once the iterator is closed or an item fails, no further item is begun.

    Args:
        function: Called in several threads at a time.
        items: Its arguments.
        workers: Threads.
    """
    pool = ThreadPoolExecutor(workers)
    try:
        for start in range(0, len(items), _CHUNK):
            yield from pool.map(function, items[start : start + _CHUNK])
    finally:
        pool.shutdown(cancel_futures=True)
