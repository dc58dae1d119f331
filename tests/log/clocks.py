"""The log's clock, for whatever store: what it says when an append is sealed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

from clew.log.chain import Sealer
from clew.log.committer import Committer


@contextmanager
def clock(now: Callable[[], int]) -> Iterator[None]:
    """`now` in microseconds takes the place of the database's clock, and is asked once for each batch: no time is
    foreseen by a clock that says something else."""
    real = Sealer.begin

    def begin(sealer: Sealer, position: int, at: int, _: int) -> None:
        real(sealer, position, at, now())

    with patch.object(Sealer, "begin", begin), patch.object(Committer, "_foresee", lambda self, appends, now: None):
        yield
