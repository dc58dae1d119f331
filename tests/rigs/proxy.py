"""A bad network on demand: a TCP proxy that cuts, stalls, refuses and delays."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from asyncio import StreamReader, StreamWriter
from collections.abc import Coroutine
from contextlib import suppress

from tests.rigs.processes import free_port

_HOST = "127.0.0.1"
_CHUNK_BYTES = 65_536
_CHUNKS_MAX = 256  # On their way in one direction; whoever sends more has to wait.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER without time to linger: closing sends RST, not FIN.


class Proxy:
    """Stands before a port of this machine, in a thread of its own. A method returns when what it says is so."""

    def __init__(self, target_port: int, *, latency_ms: float = 0) -> None:
        self.target_port = target_port
        self.latency_ms = latency_ms  # Each way; for all that arrives from now on.
        self.port = free_port()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()

    def cut(self) -> None:
        """Reset every connection at both ends; what is on its way is lost. New ones are welcome."""
        self._run(self._cut())

    def pause(self) -> None:
        """Forward nothing, on old connections or new ones, as if a cable were pulled: both ends hear silence."""
        self._run(self._pause())

    def resume(self) -> None:
        """Forward what was held back, and go on."""
        self._run(self._resume())

    def refuse(self) -> None:
        """Refuse new connections, as if nobody listened; those that are there stay."""
        self._run(self._refuse())

    def accept(self) -> None:
        """Accept connections again."""
        self._run(self._accept())

    def __enter__(self) -> Proxy:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        try:
            self.resume()
            self.accept()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _pause(self) -> None:
        self._flows.clear()

    async def _resume(self) -> None:
        self._flows.set()

    async def _accept(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._welcome, _HOST, self.port)

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _cut(self) -> None:
        await asyncio.sleep(0)  # One that has just arrived begins first: a task cancelled before that closes nothing.
        while self._connections:
            for connection in self._connections:
                connection.cancel()
            await asyncio.wait(self._connections)

    def _welcome(self, reader: StreamReader, writer: StreamWriter) -> None:
        connection = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)
        # For one that is cut before it begins, which closes nothing itself.
        connection.add_done_callback(lambda _: reset(writer))

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        writers = [writer]
        try:
            target_reader, target_writer = await asyncio.open_connection(_HOST, self.target_port)
            writers.append(target_writer)
            await first_of(self._forward(reader, target_writer), self._forward(target_reader, writer))
            for each in writers:
                each.close()
                await each.wait_closed()
        except* (asyncio.CancelledError, OSError):
            for each in writers:
                reset(each)

    async def _forward(self, reader: StreamReader, writer: StreamWriter) -> None:
        """One direction, until its sender has closed and all is delivered.

        Reading does not wait for writing, so that latency delays what is sent without slowing down its flow.
        """
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS_MAX)

        async def receive() -> None:
            data = b"something"
            while data:
                data = await reader.read(_CHUNK_BYTES)
                await on_the_way.put((self._loop.time() + self.latency_ms / 1000, data))

        async def deliver() -> None:
            while True:
                due_seconds, data = await on_the_way.get()
                await asyncio.sleep(due_seconds - self._loop.time())
                await self._flows.wait()
                if not data:
                    return
                writer.write(data)
                await writer.drain()

        async with asyncio.TaskGroup() as group:
            group.create_task(receive())
            group.create_task(deliver())


async def first_of(*works: Coroutine[None, None, None]) -> None:
    """Until one has ended, or failed; the others are cancelled."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def reset(writer: StreamWriter) -> None:
    with suppress(OSError):  # It is closed already.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()
