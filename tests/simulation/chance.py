"""Where the real code asks a clock or the dice, it is given the simulation's: one seed, one history."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from random import Random
from types import SimpleNamespace
from unittest.mock import patch

import tenacity

from clew import ids
from clew.engine import asking, gate, listening, relay, tools
from clew.log import chain, postgres
from clew.proof import notary


@contextmanager
def chance_and_clocks(random: Random, wall: Callable[[], int], running: Callable[[], float]) -> Iterator[None]:
    """`wall` is what the clock on the wall of the process that runs says, in microseconds since 1970; `running` is
    the seconds that have gone by."""
    dice = SimpleNamespace(urandom=random.randbytes)
    clock = SimpleNamespace(
        time_ns=lambda: wall() * 1_000,
        time=lambda: wall() / 1_000_000,
        monotonic_ns=lambda: round(running() * 1_000_000_000),
        monotonic=running,
        perf_counter=running,
    )

    def attempt(thread_id: str, run_id: str, model_call_id: str, fence: int) -> listening.Attempt:
        # The real one took hold of the real clock when it was imported.
        return listening.Attempt(thread_id, run_id, model_call_id, fence, started=running())

    with ExitStack() as stack:
        for module, name, stand_in in (
            (ids, "os", dice),
            (ids, "time", clock),
            (chain, "os", dice),
            (postgres, "time", clock),
            (listening, "time", clock),
            (tools, "time", clock),
            (asking, "Attempt", attempt),
            (asking, "_dice", random),
            (gate, "_dice", random),
            (tenacity, "time", clock),
            (tenacity.wait, "random", SimpleNamespace(uniform=random.uniform)),
            (relay, "secrets", SimpleNamespace(token_hex=lambda length: random.randbytes(length).hex())),
            (notary, "random", SimpleNamespace(uniform=random.uniform)),
            (notary, "secrets", SimpleNamespace(token_hex=lambda length: random.randbytes(length).hex())),
            (notary, "time", clock),
        ):
            stack.enter_context(patch.object(module, name, stand_in))
        yield
