"""Claiming runs that any of several workers may take: leases by the database's clock, renewed and given back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from clew.engine.hand import Driving, Hand
from clew.log import ColumnType, Cursor
from clew_projections import run_board

# A lease that ran out is kept this much longer, for whoever wants to see who had it.
_KEPT_MICROSECONDS = 3_600_000_000
# Whoever took the run with this fence holds it, also where another worker had claimed it for the same moment.
_LEASE_KEY: Mapping[str, ColumnType] = {"run_id": "text", "fence": "integer"}


class Claims:
    """The leases of one worker."""

    def __init__(self, driving: Driving) -> None:
        self._driving = driving
        self._lease_microseconds = round(driving.lease_seconds * 1_000_000)
        # Set when there may be something to claim.
        self.wanted = asyncio.Event()

    async def take(self, limit: int) -> list[run_board.BoardRow]:
        def work(cursor: Cursor) -> list[run_board.BoardRow]:
            return run_board.claim(
                cursor, worker=self._driving.worker, lease_microseconds=self._lease_microseconds, limit=limit
            )

        return await self._driving.log.write(work)

    async def renew(self, hands: Iterable[Hand]) -> None:
        """Hold on to the runs that are driven here, in one write for all of them."""
        held = _held(hands)

        def work(cursor: Cursor) -> None:
            now = cursor.now()
            cursor.execute("delete from leases where until < ?", (now - _KEPT_MICROSECONDS,))
            if held:
                # Only where the lease is still ours: whoever was paused for longer than it has lost the run.
                until = now + self._lease_microseconds
                cursor.update("leases", ("until", "integer"), _LEASE_KEY, [(until, *key) for key in held])

        await self._driving.log.write(work)

    async def give_back(self, hands: Iterable[Hand]) -> None:
        """Let others take over at once what was not finished here, and what was claimed and not begun."""
        held = _held(hands)

        def work(cursor: Cursor) -> None:
            # Where the run has come to this fence, it was begun: by us, or by somebody else who holds it.
            cursor.execute(
                "update leases set until = 0 where worker = ? and fence >"
                " (select b.fence from run_board b where b.run_id = leases.run_id)",
                (self._driving.worker,),
            )
            if held:
                cursor.update("leases", ("until", "integer"), _LEASE_KEY, [(0, *key) for key in held])

        await self._driving.log.write(work)


def _held(hands: Iterable[Hand]) -> list[tuple[str, int]]:
    return [(hand.run_id, hand.fence) for hand in hands if hand.fence > 0]
