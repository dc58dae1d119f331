"""The encoder of streams, told things in orders that a fleet may tell them in."""

from __future__ import annotations

from typing import Any

import orjson

from clew.bus import AnswerDropped, CallPreview, TextPreview
from clew.dialects.mistral_conversations.response import Opening, Outputs
from clew.dialects.mistral_conversations.stream import ResponseEncoder
from clew.events.base import Event, Recorded
from clew.events.content import text
from clew.events.message import MessageAppended
from clew.events.model import ModelAnswered, ModelCalled, ModelFailed
from clew.events.run import RunCompleted, RunConfig, RunHandedOff, RunQueued
from clew.events.tool import HandingOver, ToolCalled, ToolInDoubt, ToolReturned, ToolSettled, ToolStarted
from clew_projections.run_view import run_after

THREAD, RUN, STEP = "thread_06Z8ixdFfoDgvSh1Rx32mrga", "run_1", "step_06Z8ixdFfoDgvSh1Rx32mrgb"
CONFIG = RunConfig(provider="p", model="m", asked_model="m")
OF: dict[str, Any] = {"run_id": RUN, "fence": 1}
MC = "mc_1"
CALLED = ModelCalled(**OF, model_call_id=MC, provider="p", model="m", attempt=1)
ANSWERED = ModelAnswered(
    **OF, model_call_id=MC, attempt=1, step_id=STEP, model="m", finish_reason="stop", duration_ms=1.0
)
SAID = MessageAppended(
    message_id="msg_1", role="assistant", content=text("Hello"), **OF, model_call_id=MC, step_id="step_m"
)
OVER = RunCompleted(run_id=RUN)


def call(id: str = "call_1", **more: Any) -> ToolCalled:
    about: dict[str, Any] = {"name": "f", "arguments": "{}", "executor": "client", **more}
    return ToolCalled(**OF, model_call_id=MC, step_id=STEP, tool_call_id=id, **about)


def at(version: int, event: Event) -> Recorded[Event]:
    return Recorded(version, THREAD, version, version * 1_000_000, None, event)


def opening() -> Opening:
    run = run_after(None, at(2, RunQueued(run_id=RUN, dialect="mistral", config=CONFIG)))
    assert run is not None
    return Opening(THREAD, 2, run, CONFIG)


def told(*heard: Any) -> list[dict[str, Any]]:
    """The data of the frames; recorded events are numbered as they come."""
    encoder = ResponseEncoder(opening())
    frames, version = encoder.opened(), 2
    for one in heard:
        if isinstance(one, Event):
            version += 1
            frames += b"".join(encoder.encode(at(version, one)))
        else:
            frames += b"".join(encoder.encode(one))
    lines = [line for line in frames.split(b"\n") if line.startswith(b"data: ")]
    return [orjson.loads(line.removeprefix(b"data: ")) for line in lines]


def piece(words: str, message_id: str = "msg_1") -> TextPreview:
    return TextPreview(RUN, MC, "step_m", message_id, words)


def contents(found: list[dict[str, Any]]) -> list[tuple[int, str]]:
    return [(one["output_index"], one["content"]) for one in found if one["type"] == "message.output.delta"]


def test_what_previews_have_shown_is_not_shown_again() -> None:
    assert contents(told(CALLED, piece("Hel"), piece("lo"), ANSWERED, SAID, OVER)) == [(0, "Hel"), (0, "lo"), (0, "")]
    assert contents(told(CALLED, piece("Hel"), ANSWERED, SAID, OVER)) == [(0, "Hel"), (0, "lo")]
    assert contents(told(CALLED, ANSWERED, SAID, OVER)) == [(0, "Hello")]


def test_pieces_that_come_before_it_is_known_that_the_model_was_asked_wait() -> None:
    found = told(piece("Hel"), CALLED, piece("lo"), ANSWERED, SAID, OVER)
    assert contents(found) == [(0, "Hel"), (0, "lo"), (0, "")]


def test_the_next_attempt_has_another_place_also_when_its_pieces_come_early() -> None:
    failed = ModelFailed(
        **OF, model_call_id=MC, attempt=1, code="broken_stream", message="broke", retryable=True, final=False
    )
    dropped = AnswerDropped(RUN, MC, "msg_0", "step_m", STEP)
    again = CALLED.model_copy(update={"attempt": 2})
    for order in ((dropped, failed, piece("Hel"), again), (dropped, piece("Hel"), failed, again)):
        found = told(CALLED, piece("He", "msg_0"), *order, ANSWERED, SAID, OVER)
        assert contents(found) == [(0, "He"), (100, "Hel"), (100, "lo")]


def test_calls_of_the_server_are_not_shown_before_they_are_recorded() -> None:
    pieces = [
        CallPreview(RUN, MC, STEP, 0, "call_1", "f", "", for_client=False),
        CallPreview(RUN, MC, STEP, 0, None, None, "{}", for_client=False),
    ]
    recorded = call(executor="server")
    started = ToolStarted(**OF, step_id=STEP, tool_call_id="call_1", attempt=1, effect="once", idempotency_key="k")
    returned = ToolReturned(**OF, step_id=STEP, tool_call_id="call_1", output="42", duration_ms=1.0)
    found = told(CALLED, *pieces, ANSWERED, recorded, started, returned)
    assert [one["type"] for one in found[1:]] == ["tool.execution.started", "tool.execution.done"]
    assert {one["output_index"] for one in found[1:]} == {1}


def test_a_call_of_an_answer_that_broke_off_is_not_shown_or_the_sdk_would_execute_it_too() -> None:
    failed = ModelFailed(
        **OF, model_call_id=MC, attempt=1, code="broken_stream", message="broke", retryable=True, final=False
    )
    again = CALLED.model_copy(update={"attempt": 2})
    broken, whole = (CallPreview(RUN, MC, STEP, 0, f"call_{n}", "f", "{}") for n in (0, 1))
    dropped = AnswerDropped(RUN, MC, "msg_0", "step_m", STEP)
    for order in ((dropped, failed), (failed,)):  # Nobody tells of a worker that died that its answer is dropped.
        found = told(CALLED, broken, *order, again, whole, ANSWERED, call())
        shown = [one for one in found if one["type"] == "function.call.delta"]
        assert [(one["tool_call_id"], one["arguments"]) for one in shown] == [("call_1", "{}")]


def test_it_is_over_when_nobody_knows_whether_a_call_happened() -> None:
    doubt = ToolInDoubt(**OF, step_id=STEP, tool_call_id="call_1", reason="died")
    found = told(CALLED, ANSWERED, call(executor="server"), doubt)
    assert (found[-1]["type"], found[-1]["code"]) == ("conversation.response.error", 409)
    assert "call_1" in found[-1]["message"]


def test_what_was_settled_is_done() -> None:
    outputs = Outputs(opening())
    settled = ToolSettled(**OF, step_id=STEP, tool_call_id="call_1", outcome="unknown", output="who knows", by="me")
    for version, event in enumerate((CALLED, ANSWERED, call(executor="server"), settled), 3):
        outputs.hear(at(version, event))
    [entry] = outputs.entries
    assert entry["info"] == {"status": "settled", "outcome": "unknown", "output": "who knows"}


def test_the_run_of_the_next_agent_is_a_part_of_the_response() -> None:
    over = HandingOver(from_id="asst_a", from_name="Ada", to_id="asst_b", to_name="Bea")
    handed = RunHandedOff(**OF, tool_call_id="call_1", assistant_id="asst_b", to_run_id="run_2")
    returned = ToolReturned(**OF, step_id=STEP, tool_call_id="call_1", output="handed over")
    following = RunQueued(run_id="run_2", dialect="mistral", config=CONFIG, handed_off_by=RUN)
    its: dict[str, Any] = {"run_id": "run_2", "fence": 1}
    asked = CALLED.model_copy(update={**its, "model_call_id": "mc_2"})
    answered = ANSWERED.model_copy(update={**its, "model_call_id": "mc_2"})
    said = SAID.model_copy(update={**its, "model_call_id": "mc_2", "message_id": "msg_2"})
    found = told(
        *(CALLED, ANSWERED, call(executor="server", handing_over=over), handed, returned, OVER, following),
        *(asked, answered, said, RunCompleted(run_id="run_2")),
    )
    assert [one["type"] for one in found] == [
        "conversation.response.started",
        "agent.handoff.started",
        "agent.handoff.done",
        "message.output.delta",
        "conversation.response.done",
    ]
    assert [one.get("output_index") for one in found[1:4]] == [1, 1, 2]
