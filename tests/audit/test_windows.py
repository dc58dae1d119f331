"""What an audit tells of windows: summaries and what they stand for, cleared results, what was done instead."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO

from rich.console import Console

from clew.audit.atif import atif
from clew.audit.otel import otlp
from clew.audit.page import page
from clew.audit.records import Audit
from clew.cli.audit_text import print_audit
from clew.events.base import Event
from clew.events.content import text
from clew.events.message import MessageAppended
from clew.events.model import (
    Cleared,
    ContextAssembled,
    ContextTokens,
    ContextTruncated,
    InsteadOf,
    ItemRange,
    LeftOut,
    Manifest,
    ModelCalled,
    Summarising,
)
from clew.events.run import RunCompleted, RunConfig, RunQueued, Truncation
from clew.events.thread import ThreadCompacted, ThreadCreated
from clew.events.tool import ToolReturned
from tests.audit.histories import RUN, THREAD, answered, audit_of, hostile, said, started, tool_called
from tests.audit.test_page import Read
from tests.audit.test_page import shown as as_shown
from tests.rules.example import tokens

LEFT = LeftOut(items=ItemRange(stream=THREAD, first=1, last=2), reason="summarised")
RESULTS = (ItemRange(stream=THREAD, first=10, last=10),)


def _assembled(call: str, manifest: Manifest, summarises: Summarising | None = None) -> ContextAssembled:
    return ContextAssembled(
        run_id=RUN,
        fence=1,
        model_call_id=call,
        manifest=manifest,
        tokens=ContextTokens(instructions=3, tools=0, items=12, exact=False),
        renderer="openai-chat/1",
        digest="0" * 64,
        summarises=summarises,
    )


def windows(says: Callable[[int], str] = lambda number: f"words {number}") -> list[Event]:
    """A summary, a call with a result, and an answer that is asked for with that result cleared."""
    truncation = Truncation(strategy="summarise", n=50, provider="openai", model="gpt-4o-mini")
    config = RunConfig(provider="openai", model="gpt-4o", asked_model="gpt-4o", truncation=truncation)
    form = Summarising(form="summary/1", tokens=40, limit=50, limit_name="summarise")
    asks = ModelCalled(
        run_id=RUN, fence=1, model_call_id="mc_1", provider="openai", model="gpt-4o-mini", attempt=1, purpose="summary"
    )
    answers = {"run_id": RUN, "fence": 1, "provider": "openai", "model": "gpt-4o", "attempt": 1}
    summary = ItemRange(stream=THREAD, first=8, last=8)
    cleared = Cleared(items=RESULTS, note="[cleared]")
    return [
        ThreadCreated(tenant="acme", dialect="openai"),
        MessageAppended(message_id="msg_1", role="user", content=text(says(0)), tokens=tokens(40)),
        RunQueued(run_id=RUN, dialect="openai", config=config),
        started("one", 1),
        _assembled("mc_1", Manifest(shown=(ItemRange(stream=THREAD, first=2, last=2),), items=1), form),
        asks,
        answered("mc_1", 1, 1, "step_0", "stop"),
        ThreadCompacted(
            item_id="sum_1",
            summary=text(says(1)),
            first_item=2,
            last_item=2,
            model_call_id="mc_1",
            tokens=tokens(9),
            run_id=RUN,
            items=1,
            tokens_before=40,
        ),
        tool_called("mc_1", 1, "step_1", "a", "{}"),
        ToolReturned(
            run_id=RUN, fence=1, step_id="step_1", tool_call_id="a", output=says(2) + "." * 20, tokens=tokens(30)
        ),
        _assembled(
            "mc_2",
            Manifest(
                shown=(summary, ItemRange(stream=THREAD, first=9, last=10)), items=3, left_out=(LEFT,), cleared=cleared
            ),
        ),
        ContextTruncated(
            run_id=RUN,
            fence=1,
            model_call_id="mc_2",
            strategy="auto",
            left_out=(LEFT,),
            items_left_out=1,
            tokens_before=90,
            tokens_after=15,
            limit=50,
            limit_name="summarise",
            cleared=RESULTS,
            items_cleared=1,
            instead_of=InsteadOf(strategy="summarise", reason="failed"),
        ),
        ModelCalled(model_call_id="mc_2", **answers),  # type: ignore[arg-type]
        answered("mc_2", 1, 1, "step_2", "stop"),
        said("mc_2", 1, "step_2", "msg_2", says(3)),
        RunCompleted(run_id=RUN),
    ]


def printed(audit: Audit) -> str:
    console = Console(file=StringIO(), width=200)
    print_audit(console, audit)
    written: StringIO = console.file  # type: ignore[assignment]
    return written.getvalue()


def test_the_record_of_each_step_has_its_window() -> None:
    audit = audit_of(windows())
    first, second = audit.steps
    assert (first.purpose, first.asked_model, second.purpose) == ("summary", "gpt-4o-mini", "answer")
    assert first.compacted is not None
    assert (first.compacted.text, first.compacted.items, first.compacted.tokens_before) == ("words 1", 1, 40)
    kinds = [(audit.items[place].kind, audit.items[place].cleared) for place in second.shown]
    assert kinds == [("summary", False), ("call", False), ("result", True)]
    assert audit.items[second.shown[-1]].text == "[cleared]"
    assert (audit.totals.summaries, audit.totals.items_cleared, audit.totals.items_left_out) == (1, 1, 1)
    assert [item.kind for item in audit.first_shown] == ["summary", "call", "result"]


def test_the_page_and_the_terminal_tell_it() -> None:
    audit = audit_of(windows())
    for written in (" ".join("".join(Read(page(audit)).said).split()), " ".join(printed(audit).split())):
        for words in (
            "openai/gpt-4o-mini",
            "summarise is 50",
            "1 items from now on; 40 tokens became 9",
            "words 1",
            "and 1 results shown cleared by auto",
            "instead of summarise",
            "10 to 10 of thread_1: results cleared",
            "90 tokens became 15",
        ):
            assert words in written, words


def test_a_hostile_summary_stays_a_text() -> None:
    audit = audit_of(windows(hostile))
    read = Read(page(audit))
    assert read.open == []
    assert "script" not in read.tags
    assert as_shown(hostile(1)) in "".join(read.said)
    assert "\x1b[2J" not in printed(audit_of(windows(lambda number: hostile(4))))


def test_a_trace_and_a_trajectory_tell_a_summary_from_an_answer() -> None:
    audit = audit_of(windows())
    [resource] = json.loads(otlp(audit, content=True))["resourceSpans"]
    chats = [span for span in resource["scopeSpans"][0]["spans"] if span["name"].startswith("chat")]
    assert [chat["name"] for chat in chats] == ["chat gpt-4o-mini", "chat gpt-4o"]
    purposes = [
        one["value"]["stringValue"]
        for chat in chats
        for one in chat["attributes"]
        if one["key"] == "clew.model_call.purpose"
    ]
    assert purposes == ["summary", "answer"]
    told = [step for step in json.loads(atif(audit))["steps"] if "summary_of_items" in step.get("extra", {})]
    assert [(step["source"], step["message"]) for step in told] == [("system", "words 1")]
