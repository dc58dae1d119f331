"""Making identifiers: a prefix that says what it is, then 24 characters that sort by time.

The 24 characters are base 62 of 48 bits of milliseconds and 93 random bits. Letters and digits only: real
clients parse identifiers out of error texts with patterns such as `thread_([a-zA-Z0-9]+)`.
"""

from __future__ import annotations

import os
import time

# Who everything belongs to as long as there are no keys that say otherwise.
DEFAULT_TENANT = "default"

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS = [first + second for first in _DIGITS for second in _DIGITS]
_LENGTH = 24
_RANDOM_BITS = 93


def new_id(prefix: str, now_ms: int | None = None) -> str:
    """`new_id("thread")` gives `thread_` and 24 characters; `now_ms` is the wall clock unless given."""
    ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    number = (ms & (1 << 48) - 1) << _RANDOM_BITS | int.from_bytes(os.urandom(12), "big") >> 3
    pairs = []
    for _ in range(_LENGTH // 2):
        number, pair = divmod(number, 3844)
        pairs.append(_PAIRS[pair])
    pairs.reverse()
    return f"{prefix}_{''.join(pairs)}"


def has_prefix(value: str, prefix: str) -> bool:
    """Whether `value` looks like an identifier of that kind: the prefix, `_`, then letters and digits."""
    head, _, tail = value.partition("_")
    return head == prefix and tail.isascii() and tail.isalnum()


def reprefixed(value: str, prefix: str) -> str:
    """The same identity under another prefix: what is `thread_…` in one dialect may be `conv_…` in another."""
    return f"{prefix}_{value.partition('_')[2]}"
