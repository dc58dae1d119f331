"""Appends that reach the writer together, and so are one batch."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clew.log import Log

LIMIT_SECONDS = 20.0


@contextmanager
def held_back(log: Log) -> Iterator[None]:
    """What is submitted inside waits, and reaches the writer together when the block ends."""
    gate = threading.Event()
    holding = asyncio.ensure_future(log.write(lambda cursor: gate.wait(LIMIT_SECONDS)))
    try:
        yield
    finally:
        gate.set()
    assert not holding.cancelled()


async def submitted(*tasks: asyncio.Task[Any]) -> None:
    """Each of them has had its turn, and waits for the writer."""
    await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
