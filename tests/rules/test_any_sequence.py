"""Whatever is asked of a thread, in whatever order: the promises hold."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clew.errors import Refused
from clew.events import ThreadStreamEvent
from clew.events.message import MessageEdited, MessageRemoved
from clew.events.model import ContextAssembled, ModelAnswered, ModelCalled, ModelFailed, Purpose, Summarising
from clew.events.run import RunOver, RunQueued, RunStarted
from clew.events.thread import ThreadCompacted
from clew.events.tool import ToolCalled, ToolFailed, ToolReplaced, ToolReturned, ToolSettled
from clew.rules.moves import next_move
from clew.rules.state import Thread
from clew.rules.thread import thread_rules
from tests.rules.imagining import World
from tests.specify import through_codec

pytestmark = pytest.mark.slow

COMMANDS_MAX = 120


def imagined(random: Random, commands: int) -> tuple[list[ThreadStreamEvent], Thread]:
    """A history, and the state that was kept along with it."""
    world = World("thread_1", random, stored=random.random() < 0.9)
    thread = thread_rules.initial
    history: list[ThreadStreamEvent] = []
    for number in range(commands):
        command = world.command(thread) if number else world.create()
        try:
            events = thread_rules.decide(command, thread)
        except Refused:
            continue
        thread = thread_rules.fold(events, thread)
        world.note(events)
        history += events
        if thread.run is not None:
            next_move(thread.run)
    return history, thread


def holds(history: list[ThreadStreamEvent], thread: Thread) -> None:
    active: str | None = None
    fence = 0
    called: dict[str, str] = {}
    results: Counter[str] = Counter()
    waiting: str | None = None
    asked: Purpose = "answer"
    changed: set[str] | None = None
    for event in history:
        assert through_codec(event) == event
        match event:
            case RunQueued(run_id=run_id):
                assert active is None, "one run at a time"
                active, fence = run_id, 0
            case RunStarted():
                assert event.fence == fence + 1, "fences grow"
                fence = event.fence
            case RunOver(run_id=run_id):
                assert run_id == active, "a run ends once, and only when it was under way"
                assert waiting is None, "an end closes the model call"
                left = [id for id, run in called.items() if run == run_id and results[id] != 1]
                assert not left, f"calls without exactly one result: {left}"
                active = None
            case ModelCalled(model_call_id=id, purpose=purpose):
                assert waiting is None, "one model call at a time"
                waiting, asked = id, purpose
            case ModelAnswered(model_call_id=id) | ModelFailed(model_call_id=id):
                assert waiting == id
                waiting = None
            case ContextAssembled(summarises=Summarising()):
                changed = set()
            case ThreadCompacted():
                assert asked == "summary", "a summary comes of a call for one, and of nothing else"
                told = changed if changed is not None else set()
                standing = thread_rules.fold(history[: history.index(event) + 1]).summary
                assert standing is None or told <= set(standing.changed), "what was changed meanwhile is not forgotten"
            case MessageEdited(message_id=id) | MessageRemoved(message_id=id) | ToolReplaced(tool_call_id=id):
                changed = None if changed is None else {*changed, id}
            case ToolCalled(tool_call_id=id, run_id=run_id):
                assert asked == "answer", "what asks for a summary makes no calls"
                called[id] = run_id
            case ToolReturned(tool_call_id=id) | ToolFailed(tool_call_id=id):
                results[id] += 1
            case ToolSettled(tool_call_id=id, outcome=outcome):
                results[id] += outcome != "did_not_happen"
            case _:
                pass
        if (carried := getattr(event, "fence", None)) is not None:
            assert active is not None
            assert carried == fence, "every event of a run carries its newest fence"
    assert all(count <= 1 for count in results.values()), "no call has two results"
    assert thread == thread_rules.fold(history), "folded along the way is folded from the start"
    assert (thread.run.run_id if thread.run is not None else None) == active
    assert thread.items >= 0
    assert thread.user_messages >= 0


@settings(max_examples=250)
@given(st.randoms(use_true_random=False), st.integers(1, COMMANDS_MAX))
def test_any_sequence_of_commands_is_taken_or_refused_and_keeps_the_promises(random: Random, commands: int) -> None:
    holds(*imagined(random, commands))


def test_many_long_sequences_reach_every_kind_of_event() -> None:
    kinds: Counter[str] = Counter()
    for seed in range(150):
        history, thread = imagined(Random(seed), 200)
        holds(history, thread)
        kinds.update(event.kind for event in history)
    never = {"thread.forked", "thread.erased"}
    from_rules = {kind for union in ThreadStreamEvent.__args__ for kind in [union.kind]} - never
    assert from_rules <= set(kinds), f"never seen: {from_rules - set(kinds)}"
