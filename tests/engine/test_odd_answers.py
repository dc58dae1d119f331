"""After odd answers a thread goes on, with every provider: no request is refused, and every call is made as written."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from clew.events.model import ContextAssembled, ModelAnswered, ReasoningRecorded
from clew.events.tool import ToolCalled, ToolFailed, ToolReturned
from tests.engine.strict_talks import SEARCH, Judge, strict, talk, texts
from tests.engine.test_switching import Talk
from tests.providers.kinds import (
    ANTHROPIC,
    EVERY,
    MISTRAL,
    OPENAI,
    Kind,
    block,
    chunk,
    completion,
    delta,
    ended,
    message,
    start,
    stopped,
)
from tests.rigs import valid_anthropic, valid_openai
from tests.rigs.raw_server import Reply, json_reply

OF_ALL = pytest.mark.parametrize("kind", EVERY, ids=str)


def of_anthropic(request: dict[str, Any]) -> str | None:
    binds = request.get("thinking", {}).get("block_binding")
    fault = valid_anthropic.fault_of(request, "of its own" if binds else "")
    return fault or valid_anthropic.thinking_fault_of(request)


JUDGES: dict[str, tuple[Judge, ...]] = {
    "openai": (valid_openai.fault_of,),
    "mistral": (),
    "anthropic": (of_anthropic,),
}
FINE = {
    "openai": OPENAI.streamed(chunk("stop", content="Fine.")),
    "mistral": MISTRAL.streamed(chunk("stop", content="Fine.")),
    "anthropic": ANTHROPIC.streamed(*ANTHROPIC.begun, *ended("end_turn")),
}


def goes_on(kind: Kind, *odd: Reply, status: str = "completed", tools: Any = (), what: Any = None) -> None:
    """A run with odd answers, and then one with each provider, the first one first."""
    others = [other for other in EVERY if other is not kind]
    replies = {kind.name: (*odd, FINE[kind.name])} | {other.name: (FINE[other.name],) for other in others}

    async def hold(held: Talk) -> None:
        for name, server in held.servers.items():
            strict(server, *JUDGES[name])
        run = await held.turn(kind.name, tools=tools)
        assert run.status == status, run.error_message
        for each in (kind, *others, kind):
            run = await held.turn(each.name, tools=tools)
            assert run.status == "completed", run.error_message
        if what is not None:
            what(held)

    talk(":memory:", replies, hold)


def calls(kind: Kind, arguments: str) -> Reply:
    if kind is ANTHROPIC:
        begun = block(0, type="tool_use", id="call_1", name="search", input={})
        return kind.streamed(start(), begun, delta(0, "input_json", partial_json=arguments), *ended("tool_use"))
    call = {"index": 0, "id": "call_1", "function": {"name": "search", "arguments": arguments}}
    return kind.streamed(chunk(tool_calls=[call]), chunk("tool_calls"))


@OF_ALL
@pytest.mark.parametrize("number", ["9" * 309, "-" + "9" * 400, "9" * 5000, "1e400", "-0.10E+999"])
def test_numbers_beyond_all_floats_are_arguments_like_others(kind: Kind, number: str) -> None:
    def check(held: Talk) -> None:
        [called] = held.events(ToolCalled)
        assert called.arguments == f'{{"q": {number}}}'
        for server in held.servers.values():
            assert number.encode() in server.bodies[-1]

    goes_on(kind, calls(kind, f'{{"q": {number}}}'), tools=(SEARCH,), what=check)


@OF_ALL
@pytest.mark.parametrize("depth", [200, 239, 255, 300, 5000])
def test_arguments_may_be_nested_as_deeply_as_anybody_likes(kind: Kind, depth: int) -> None:
    arguments = '{"q":' * depth + "1" + "}" * depth

    def check(held: Talk) -> None:
        assert [one.arguments for one in held.events(ToolCalled)] == [arguments]
        assert [one.reason for one in held.events(ToolFailed)] == ["arguments"]

    goes_on(kind, calls(kind, arguments), tools=(SEARCH,), what=check)


def thinking(index: int, text: str, signature: str = "") -> list[Any]:
    begun = block(index, type="thinking", thinking="", signature="")
    signed = [delta(index, "signature", signature=signature)] if signature else []
    return [begun, delta(index, "thinking", thinking=text), *signed, stopped(index)]


def test_thinking_that_was_cut_at_the_limit_is_not_sent_back() -> None:
    cut = ANTHROPIC.streamed(start(), *thinking(0, "Hm"), *ended("max_tokens"))

    def check(held: Talk) -> None:
        assert [one.blocks for one in held.events(ReasoningRecorded)] == [
            ('{"type":"thinking","thinking":"Hm","signature":""}',)
        ]
        told = [str(one) for manifest in held.events(ContextAssembled) for one in manifest.manifest.not_rendered]
        assert any("it is not signed, which Claude's API refuses" in one for one in told)

    goes_on(ANTHROPIC, cut, status="incomplete", what=check)


@pytest.mark.parametrize("before", [[], [block(0, type="text", text="So.")]], ids=["alone", "after a text"])
def test_thinking_after_which_nothing_was_said_is_not_sent_back(before: list[Any]) -> None:
    odd = ANTHROPIC.streamed(start(), *before, *thinking(1, "Hm", "c2ln"), *ended("end_turn"))

    def check(held: Talk) -> None:
        told = [str(one) for manifest in held.events(ContextAssembled) for one in manifest.manifest.not_rendered]
        assert any("nothing was said after it, which Anthropic's API refuses" in one for one in told)

    goes_on(ANTHROPIC, odd, what=check)


def test_thinking_before_a_text_goes_back_also_where_more_was_cut_after_it() -> None:
    text = [block(1, type="text", text=""), delta(1, "text", text="So."), stopped(1)]
    odd = ANTHROPIC.streamed(start(), *thinking(0, "Hm", "c2ln"), *text, *thinking(2, "An"), *ended("max_tokens"))

    def check(held: Talk) -> None:
        [said] = [one for one in orjson.loads(held.servers["anthropic"].bodies[1])["messages"] if one["role"] != "user"]
        assert said["content"] == [
            {"type": "thinking", "thinking": "Hm", "signature": "c2ln"},
            {"type": "text", "text": "So."},
        ]

    goes_on(ANTHROPIC, odd, status="incomplete", what=check)


@OF_ALL
@pytest.mark.parametrize("reason", ["length", "stop"])
def test_an_answer_in_which_nothing_was_said_is_no_message_of_a_request(kind: Kind, reason: str) -> None:
    empty = kind.streamed(start(), *ended(reason)) if kind is ANTHROPIC else kind.streamed(chunk(reason, content=""))
    thought = OPENAI.streamed(chunk(reasoning_content="Hm"), chunk(reason, content=""))
    for odd in (empty, *([thought] if kind is OPENAI else [])):
        goes_on(kind, odd, status="incomplete" if reason == "length" else "completed")


@pytest.mark.parametrize(("written", "sent"), [("[1,2]", {"INVALID_JSON": "[1,2]"}), ('"x"', {"INVALID_JSON": '"x"'})])
@pytest.mark.parametrize("streams", [True, False], ids=["stream", "whole"])
def test_the_input_of_a_call_among_thoughts_is_an_object(written: str, sent: Any, streams: bool) -> None:
    thought = {"type": "thinking", "thinking": "Hm", "signature": "c2ln"}
    called = {"type": "tool_use", "id": "call_1", "name": "search", "input": {}}
    if streams:
        blocks = [block(0, type="text", text="So."), block(1, **thought), block(2, **called)]
        odd = ANTHROPIC.streamed(start(), *blocks, delta(2, "input_json", partial_json=written), *ended("tool_use"))
    else:
        blocks = [{"type": "text", "text": "So."}, thought, {**called, "input": orjson.loads(written)}]
        odd = json_reply(message(*blocks, stop_reason="tool_use"))

    def check(held: Talk) -> None:
        [one] = held.events(ToolCalled)
        assert one.arguments == written
        [failed] = held.events(ToolFailed)
        assert failed.reason == "arguments"
        said = orjson.loads(held.servers["anthropic"].bodies[1])["messages"][1]["content"]
        assert said[2]["input"] == sent

    goes_on(ANTHROPIC, odd, tools=(SEARCH,), what=check)


def test_a_call_among_thoughts_that_has_no_id_is_given_one() -> None:
    odd = message(
        {"type": "text", "text": "So."},
        {"type": "thinking", "thinking": "Hm", "signature": "c2ln"},
        {"type": "tool_use", "name": "search", "input": {"q": "x"}},
        stop_reason="tool_use",
    )

    def check(held: Talk) -> None:
        assert [one.output for one in held.events(ToolReturned)] == ["found x"]
        said = orjson.loads(held.servers["anthropic"].bodies[1])["messages"][1]["content"]
        assert [one["type"] for one in said] == ["text", "thinking", "tool_use"]

    goes_on(ANTHROPIC, json_reply(odd), tools=(SEARCH,), what=check)


def test_numbers_beyond_all_floats_may_stand_among_thoughts() -> None:
    thought = {"type": "thinking", "thinking": "Hm", "signature": "c2ln"}
    blocks = [block(0, type="text", text="So."), block(1, **thought)]
    blocks.append(block(2, type="tool_use", id="call_1", name="search", input={}))
    call = delta(2, "input_json", partial_json='{"q":1e400}')
    goes_on(ANTHROPIC, ANTHROPIC.streamed(start(), *blocks, call, *ended("tool_use")), tools=(SEARCH,))
    chunks = b'{"choices":[{"index":0,"delta":{"content":[{"type":"thinking","thinking":[],"n":1e400}]}}]}'
    goes_on(MISTRAL, MISTRAL.streamed(b"data: %s\n\n" % chunks, chunk("stop", content="So.")))


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "whole"])
def test_thinking_that_mistral_sends_as_a_text_goes_back_as_a_list(streams: bool) -> None:
    pieces = [{"type": "thinking", "thinking": "Hm"}, {"type": "thinking", "thinking": " so"}]
    if streams:
        odd = MISTRAL.streamed(*(chunk(content=[piece]) for piece in pieces), chunk("stop", content="Hi"))
        thought = [{"type": "text", "text": "Hm so"}]
    else:
        odd = json_reply(completion("stop", content=[pieces[0], {"type": "text", "text": "Hi"}]))
        thought = [{"type": "text", "text": "Hm"}]

    def check(held: Talk) -> None:
        assert texts(held)[0] == "Hi"
        said = orjson.loads(held.servers["mistral"].bodies[1])["messages"][1]["content"]
        assert said[0] == {"type": "thinking", "thinking": thought}

    goes_on(MISTRAL, odd, what=check)


def test_an_answer_with_a_number_of_tokens_that_no_answer_has_is_an_answer() -> None:
    usage = b'{"prompt_tokens":10,"completion_tokens":2,"total_tokens":1%s}' % (b"0" * 400)
    odd = OPENAI.streamed(chunk("stop", content="Hi"), b'data: {"choices":[],"usage":%s}\n\n' % usage)

    def check(held: Talk) -> None:
        used = held.events(ModelAnswered)[0].usage
        assert (used.input, used.output) == (10, 2)

    goes_on(OPENAI, odd, what=check)
