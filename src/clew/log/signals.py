"""Words between the processes on one log: that there is something new, and previews of answers on their way.

They are hints. Whoever misses one finds everything that counts in the log, which is read now and then unasked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

_CHANNEL = "clew"
# Words are gathered this long: notifications are cheap by the dozen a second, not by the thousand.
_GATHER_SECONDS = 0.01
_AGAIN_SECONDS = 0.5
# PostgreSQL takes less than 8,000 bytes.
WORD_BYTES_MAX = 7_500

logger = logging.getLogger(__name__)


class Signals:
    """PostgreSQL's `listen` and `notify`, each on a connection of its own, for ever, whatever happens to them."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._outbox: list[str] = []
        self._filled = asyncio.Event()

    def send(self, word: str) -> None:
        """`word` has at most `WORD_BYTES_MAX` bytes."""
        self._outbox.append(word)
        self._filled.set()

    async def run(self, hear: Callable[[str], None]) -> None:
        """For ever: `hear` what others send, and what we send ourselves."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep(lambda connection: self._listen(connection, hear)))
            group.create_task(self._keep(self._speak))

    async def _keep(self, work: Callable[[psycopg.AsyncConnection[Any]], Any]) -> None:
        import psycopg  # Whoever keeps the log in a file has no need of it.

        while True:
            try:
                async with await psycopg.AsyncConnection.connect(self._dsn, autocommit=True) as connection:
                    await work(connection)
            except psycopg.Error as error:
                logger.info("signals between processes pause: %s", error)
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _listen(self, connection: psycopg.AsyncConnection[Any], hear: Callable[[str], None]) -> None:
        await connection.execute(f"listen {_CHANNEL}")
        async for notification in connection.notifies():
            hear(notification.payload)

    async def _speak(self, connection: psycopg.AsyncConnection[Any]) -> None:
        while True:
            await self._filled.wait()
            await asyncio.sleep(_GATHER_SECONDS)
            self._filled.clear()
            words, self._outbox = self._outbox, []
            await connection.execute("select pg_notify(%s, word) from unnest(%s::text[]) as word", (_CHANNEL, words))
