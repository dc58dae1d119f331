"""`clew` on another day: `python -m tests.rigs.another_day DAYS serve …`, its clock as many days off the true one."""

from __future__ import annotations

import sys
import time

from clew.cli import main

_DAY_SECONDS = 86_400


def move_the_clock(days: int) -> None:
    true, true_ns = time.time, time.time_ns
    seconds = days * _DAY_SECONDS
    vars(time).update(time=lambda: true() + seconds, time_ns=lambda: true_ns() + seconds * 1_000_000_000)


if __name__ == "__main__":
    move_the_clock(int(sys.argv.pop(1)))
    main()
