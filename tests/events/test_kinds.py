"""What an event may be, and what the codec refuses."""

from __future__ import annotations

from typing import ClassVar

import pytest
from pydantic import ValidationError

from clew.errors import TooLarge, UnknownKind
from clew.events import Event
from clew.events.content import Other, text
from clew.events.message import MessageAppended
from clew.events.thread import ThreadCreated, ThreadDeleted
from clew.events.tool import ToolCalled
from clew.log import codec
from clew.log.codec import EVENT_BYTES_MAX
from tests.specify import through_codec


def test_an_unknown_kind_says_what_may_have_happened() -> None:
    with pytest.raises(UnknownKind) as raised:
        codec.decode("message.sung", b"{}")
    assert str(raised.value) == (
        "no event is called 'message.sung' here; this log was written by a newer Clew: upgrade to read it"
    )
    assert raised.value.kind == "message.sung"


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="mood"):
        codec.decode("thread.deleted", b'{"by":"key_1","mood":"good"}')


def test_an_unknown_field_deep_inside_is_refused() -> None:
    state = b'{"message_id":"m","role":"user","content":[{"type":"text","text":"a","colour":"red"}]}'
    with pytest.raises(ValidationError, match="colour"):
        codec.decode("message.appended", state)


def test_a_missing_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="tenant"):
        codec.decode("thread.created", b"{}")


def test_two_events_of_one_kind_are_refused_where_the_second_is_written() -> None:
    with pytest.raises(TypeError, match=r"two events are called 'thread\.deleted': ThreadDeleted and Again"):

        class Again(Event):
            kind: ClassVar[str] = "thread.deleted"

    assert Event.kinds["thread.deleted"] is ThreadDeleted


def test_an_event_without_a_kind_is_refused_where_it_is_written() -> None:
    with pytest.raises(TypeError, match="event Nameless has no kind"):

        class Nameless(Event):
            pass


def test_a_kind_is_not_inherited() -> None:
    with pytest.raises(TypeError, match="event Heir has no kind"):

        class Heir(ThreadDeleted):
            pass


def test_a_kind_is_stored_and_a_python_path_is_not() -> None:
    assert b"clew" not in codec.encode(ThreadCreated(tenant="acme", dialect="openai"))


def test_what_is_at_its_default_is_not_stored() -> None:
    assert codec.encode(ThreadDeleted()) == b"{}"
    assert codec.encode(ThreadDeleted(by="key_1")) == b'{"by":"key_1"}'


def test_an_event_cannot_be_changed() -> None:
    event = ThreadDeleted(by="key_1")
    with pytest.raises(ValidationError, match="frozen"):
        event.by = "key_2"


def test_an_event_over_the_limit_is_too_large() -> None:
    with pytest.raises(TooLarge) as raised:
        codec.encode(MessageAppended(message_id="m", role="user", content=text("x" * EVENT_BYTES_MAX)))
    assert raised.value.limit_bytes == EVENT_BYTES_MAX
    assert raised.value.size_bytes > EVENT_BYTES_MAX
    assert "message.appended" in str(raised.value)


def test_the_longest_message_that_clients_may_send_is_taken() -> None:
    through_codec(MessageAppended(message_id="m", role="user", content=text("🧶" * 256_000)))


@pytest.mark.parametrize("words", ["", "\x00", "\u2028", "e\u0301", "🧶", '{"a": 1}', "\\u0000"])
def test_text_comes_back_as_it_was(words: str) -> None:
    assert through_codec(MessageAppended(message_id="m", role="user", content=text(words))).content == text(words)


def test_what_a_provider_sent_comes_back_byte_for_byte() -> None:
    block = '{"b": 1.0,  "a":1e21, "a":2}'
    part = Other(type="other", provider="p", block=block)
    assert through_codec(MessageAppended(message_id="m", role="user", content=(part,))).content == (part,)


def test_half_a_character_cannot_be_stored() -> None:
    """A lone surrogate is no text; the edge must have refused it."""
    event = ToolCalled(
        run_id="r",
        fence=1,
        model_call_id="mc",
        step_id="s",
        tool_call_id="c",
        name="look",
        arguments="\ud800",
        executor="client",
    )
    with pytest.raises(ValueError, match=r"surrogates|utf-8"):
        codec.encode(event)
