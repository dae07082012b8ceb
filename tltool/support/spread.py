"""Many calls of one function, here or spread over processes and machines.

What is worth spreading takes a `Spread` and maps over it; whether the calls run one after the
other, in processes or on a cluster is decided where the command line is read. Importing this is
cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tltool.support import stopping

Item = TypeVar("Item")
Result = TypeVar("Result")


class Spread:
    """Calls one function on many items: here one after the other, in this process.

    Attributes:
        width: How many calls run at a time.
        elsewhere: Whether they run in other processes, so that function, items and results are
            pickled on their way, and what a call keeps is gone with its process.
    """

    width = 1
    elsewhere = False

    def map(
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        computes: bool = False,
    ) -> Iterator[Result]:
        """The function's results, in the order of the items.

        The items are taken while the results are read, at most a few of them ahead. Once the
        iterator is closed, or a call fails, no further one is begun.

        Args:
            function: The same for all items. Equal calls give equal results: one may be made
                again.
            items: Its arguments.
            computes: Whether it runs TensorFlow.

        Raises:
            TltoolError: What a call raised, of its own kind.
        """
        for item in items:
            stopping.check()
            yield function(item)


class Processes(Spread):
    """Calls in processes of this machine, each with one thread for its arithmetic.

    Args:
        width: Number of processes; None takes one for each CPU.
    """

    elsewhere = True

    def __init__(self, width: int | None = None) -> None:
        from joblib import cpu_count

        self.width = width or int(cpu_count())

    def map(
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        computes: bool = False,
    ) -> Iterator[Result]:
        """The function's results; see `Spread.map`."""
        from joblib import Parallel, delayed, parallel_config

        with parallel_config("loky", inner_max_num_threads=1):
            pool = Parallel(n_jobs=self.width, return_as="generator")
        yield from pool(delayed(function)(item) for item in items)
