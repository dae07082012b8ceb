"""Work on the rows of the data that several processes have, of which each does its share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt


class Sharing:
    """One process, which does all by itself; those that share override every method.

    Each process makes the same calls, with the same rows.
    """

    def own(self, rows: Sequence[Any]) -> Sequence[int]:
        """The numbers of the rows that are this process's, ascending.

        A file is always that of the same process, wherever it stands.
        """
        return range(len(rows))

    def part(self, count: int) -> range:
        """Of so many rows the neighbouring ones that are this process's."""
        return range(count)

    def summed(self, what: str, values: npt.NDArray[Any]) -> None:
        """Adds to values what the other processes have there; each leaves zeros where others work.

        Args:
            what: They are, for messages.
            values: Of any type, the same one in all processes; changed in place.
        """

    def united(self, what: str, values: set[str]) -> set[str]:
        """The values of all processes together."""
        return values


ALONE = Sharing()
