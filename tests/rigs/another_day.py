"""Another day: a process of which the clock is as many days off the true one."""

from __future__ import annotations

import time

_DAY_SECONDS = 86_400


def move_the_clock(days: int) -> None:
    true, true_ns = time.time, time.time_ns
    seconds = days * _DAY_SECONDS
    vars(time).update(time=lambda: true() + seconds, time_ns=lambda: true_ns() + seconds * 1_000_000_000)
