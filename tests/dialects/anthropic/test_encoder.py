"""The encoder of a message's stream: whatever is heard in whichever order, what is sent is the message."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import httpx2
import orjson
from anthropic.lib.streaming._beta_messages import accumulate_event
from anthropic.types.beta import BetaRawMessageStreamEvent
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from clew.bus import Preview, ReasoningPreview, TextPreview
from clew.dialects.anthropic_messages.reply import Reply
from clew.dialects.anthropic_messages.stream import LAST, ReplyEncoder
from clew.events.base import Event, Recorded
from clew.events.content import text
from clew.events.message import MessageAppended
from clew.events.model import ReasoningRecorded
from clew.events.run import RunCompleted
from tests.dialects.anthropic.imagining import OF, RUN, THREAD, answered, called, dropped, failed, imagined, numbered
from tests.dialects.sse import Frame

EVENTS: TypeAdapter[Any] = TypeAdapter(BetaRawMessageStreamEvent)
MC = "mc_06Z8ixdFfoDgvSh1Rx32mrga"


def reply() -> Reply:
    return Reply(RUN, "m", shows_served=True)


def told(heard: Sequence[Recorded[Event] | Preview], after: tuple[int, int] = (0, LAST)) -> list[Frame]:
    encoder = ReplyEncoder(reply(), "req_1", after)
    return [frame for one in heard for made in encoder.encode(one) for frame in read(made)]


def read(frames: bytes) -> list[Frame]:
    found = []
    for frame in frames.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in frame.split("\n"))
        found.append(Frame(fields["event"], orjson.loads(fields["data"]), fields.get("id")))
    return found


def whole(heard: Sequence[Recorded[Event] | Preview]) -> Reply:
    """The same from the recorded events alone."""
    made = reply()
    for one in heard:
        if isinstance(one, Recorded):
            made.hear(one)
    return made


def folded(frames: Sequence[Frame]) -> Any:
    """What the SDK makes of a stream, which must be one that its types know."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for frame in frames:
        if frame.event in ("ping", "error"):
            continue
        event = EVENTS.validate_python(frame.data)
        snapshot = accumulate_event(
            event=event, current_snapshot=snapshot, json_bufs=buffers, request_headers=httpx2.Headers()
        )
    return snapshot


def blocks_of(message: Any) -> list[dict[str, Any]]:
    blocks = [block if isinstance(block, dict) else block.to_dict() for block in message]
    return [{name: value for name, value in block.items() if value is not None} for block in blocks]


@settings(max_examples=80)
@given(st.randoms(use_true_random=False))
def test_a_stream_is_the_message_or_ends_with_why_there_is_none(random: Random) -> None:
    """There is none where the run failed, or was ended; and what broke off after some of it was shown counts for
    nothing, though there will be another."""
    run = imagined(random)
    heard = numbered(run.heard)
    frames, expected = told(heard), whole(heard)
    assert expected.over, "everything that is imagined ends"
    ends(frames)
    if not run.broke_off:
        assert (frames[-1].event == "error") == (expected.outcome == "failed")
    if frames[-1].event == "error":
        assert not any(frame.event in ("message_delta", "message_stop") for frame in frames)
        assert set(frames[-1].data) == {"type", "error", "request_id"}
        if expected.fault is not None and not run.broke_off:
            assert frames[-1].data == expected.fault.body("req_1")
        return
    message, shown = folded(frames), expected.message()
    assert blocks_of(message.content) == blocks_of(shown["content"])
    assert (message.id, message.stop_reason) == (shown["id"], shown["stop_reason"])
    for name in ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"):
        assert getattr(message.usage, name) == shown["usage"][name]


def ends(frames: Sequence[Frame]) -> None:
    """Begun once, blocks one behind the other at places without a gap, and one end."""
    assert all(frame.event == frame.data["type"] for frame in frames)
    names = [frame.event for frame in frames if frame.event != "ping"]
    assert names[0] == "message_start"
    assert names.count("message_start") == 1
    places, open_at = 0, None
    for frame in frames:
        match frame.event:
            case "content_block_start":
                assert open_at is None, "the one before has come to its end"
                assert frame.data["index"] == places
                places, open_at = places + 1, frame.data["index"]
            case "content_block_delta":
                assert frame.data["index"] == open_at
            case "content_block_stop":
                assert frame.data["index"] == open_at
                open_at = None
            case "message_delta" | "message_stop":
                assert open_at is None
            case _:
                pass
    if names[-1] != "error":
        assert names[-2:] == ["message_delta", "message_stop"]
        assert names.count("message_delta") == 1


@settings(max_examples=50)
@given(st.randoms(use_true_random=False))
def test_whoever_attaches_behind_any_event_gets_the_rest_of_what_was_recorded(random: Random) -> None:
    """Told again from the log, a stream has the same events under the same ids, from wherever one goes on."""
    recorded = imagined(random).recorded()
    every = [frame for frame in told(recorded, (0, 0)) if frame.id is not None]
    for place, frame in enumerate(every):
        assert frame.id is not None
        version, number = frame.id.split("-")
        rest = [one for one in told(recorded, (int(version), int(number))) if one.id is not None]
        assert rest == every[place + 1 :]


@settings(max_examples=80)
@given(st.randoms(use_true_random=False))
def test_a_stream_that_was_dropped_and_attached_to_again_is_the_message(random: Random) -> None:
    """What came without an id behind the last one counts for nothing; it is sent again."""
    run = imagined(random)
    if run.broke_off:
        return
    heard = numbered(run.heard)
    live = told(heard)
    seen = live[: random.randrange(len(live) + 1)]
    last = next((place for place in range(len(seen) - 1, -1, -1) if seen[place].id is not None), None)
    kept = seen[: last + 1] if last is not None else []
    after = (0, LAST)
    if last is not None:
        version, number = str(seen[last].id).split("-")
        after = (int(version), int(number))
    again = told(run.recorded(), after)
    expected = whole(heard)
    both = [*kept, *(frame for frame in again if frame.event != "ping")]
    if expected.outcome == "failed":
        assert both[-1].event == "error"
        return
    ends(both)
    assert blocks_of(folded(both).content) == blocks_of(expected.message()["content"])


def test_a_signature_comes_at_once_though_it_was_heard_in_pieces() -> None:
    """The SDK takes the last piece of one for all of it, and sends that back."""
    block = orjson.dumps({"type": "thinking", "thinking": "Hm.", "signature": "one-two"}).decode()
    recorded = ReasoningRecorded(**OF, model_call_id=MC, item_id="rs_1", provider="anthropic", blocks=(block,))
    thoughts = [("", "", True), ("Hm.", "", False), ("", "one", False), ("", "-two", False)]
    previews = [ReasoningPreview(RUN, MC, said, signature, begins=begins) for said, signature, begins in thoughts]
    says = TextPreview(RUN, MC, "step_m", "msg_1", "So.")
    for rest in ((), (says,)):
        heard = numbered([called(MC), *previews, *rest, answered(MC), recorded, RunCompleted(run_id=RUN)])
        frames = told(heard)
        signed = [
            frame.data["delta"] for frame in frames if frame.data.get("delta", {}).get("type") == "signature_delta"
        ]
        assert signed == [{"type": "signature_delta", "signature": "one-two"}]


def test_pieces_that_come_before_it_is_known_that_the_model_was_asked_wait() -> None:
    says, more = (TextPreview(RUN, MC, "step_m", "msg_1", words) for words in ("So ", "be it."))
    said = MessageAppended(message_id="msg_1", role="assistant", content=text("So be it."), **OF, model_call_id=MC)
    rest = (more, answered(MC), said, RunCompleted(run_id=RUN))
    again = called(MC, 2)
    orders: list[list[Any]] = [
        [says, called(MC), *rest],
        [called(MC), dropped(MC), failed(MC, final=False), says, again, *rest],
        [called(MC), dropped(MC), says, failed(MC, final=False), again, *rest],
        [called(MC), failed(MC, final=False), dropped(MC), says, again, *rest],
    ]
    for order in orders:
        frames = told(numbered(order))
        ends(frames)
        assert [frame.data["index"] for frame in frames if frame.event == "content_block_start"] == [0]
        deltas = [frame.data["delta"]["text"] for frame in frames if frame.event == "content_block_delta"]
        assert deltas == ["So ", "be it."]


def test_another_runs_events_and_previews_are_nothing_to_it() -> None:
    other = called(MC).model_copy(update={"run_id": "run_2"})
    preview = TextPreview("run_2", MC, "step_m", "msg_1", "So.")
    assert told([Recorded(3, THREAD, 3, 3, None, other), preview]) == []
