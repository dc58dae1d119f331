"""Ending tasks, all of them and for sure."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

_AGAIN_SECONDS = 0.5


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel `tasks`, and return when they have ended.

    Once is not enough: `asyncio.wait_for` of Python 3.11 forgets that it was cancelled when what it waits for is
    done in the same moment, and so may any tool that is other people's code.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        ended, left = await asyncio.wait(left, timeout=_AGAIN_SECONDS)
        for task in ended:
            if not task.cancelled():
                # It is known by whoever looks after it; here it is only not to be called unheard.
                task.exception()
