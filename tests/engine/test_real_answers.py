"""Answers of real providers through the engine: what is recorded, what goes back, what an audit and a replay say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from clew.audit.telling import audit
from clew.events.model import ModelAnswered, ModelFailed, ReasoningRecorded
from clew.events.run import Tool
from clew.events.tool import ToolCalled, ToolFailed, ToolReturned
from tests.engine.strict_talks import SEARCH, Judge, strict, talk, texts
from tests.engine.test_switching import Talk, runs_of
from tests.providers.kinds import ANTHROPIC, EVERY, MISTRAL, OPENAI, Kind, block, chunk, completion, delta, ended, start
from tests.rigs.raw_server import Reply, json_reply

# What must go back

CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "search", "arguments": '{"q": "x"}'}}
SIGNATURE = {"google": {"thought_signature": "c2lnbmF0dXJlLzEyMw=="}}
DETAILS = [
    {"type": "reasoning.text", "text": "Hm, 0.10 …", "signature": "c2ln", "format": "x", "index": 0},
    {"type": "reasoning.encrypted", "data": "ZGF0YQ==", "id": "r_1", "format": "x", "index": 1},
]
# What the server sends with its call, and where that must be in the next requests.
STATES: dict[str, tuple[dict[str, Any], Callable[[dict[str, Any]], Any]]] = {
    "reasoning_content": (
        {"reasoning_content": "I should … search."},
        lambda said: said.get("reasoning_content"),
    ),
    "reasoning_details": ({"reasoning_details": DETAILS}, lambda said: said.get("reasoning_details")),
    "extra_content": (
        {"tool_calls": [{**CALL, "extra_content": SIGNATURE}]},
        lambda said: said["tool_calls"][0].get("extra_content"),
    ),
}
SENT = {"reasoning_content": "I should … search.", "reasoning_details": DETAILS, "extra_content": SIGNATURE}


def thinks(state: str, streams: bool) -> tuple[Reply, Reply]:
    """A server that thinks and calls, and then answers."""
    members = {"tool_calls": [CALL], **STATES[state][0]}
    if not streams:
        return json_reply(completion("tool_calls", content=None, **members)), json_reply(
            completion("stop", content="So.")
        )
    text = members.get("reasoning_content", "")
    pieces = [chunk(reasoning_content=letter) for letter in text] if text else []
    rest = {name: value for name, value in members.items() if name != "reasoning_content"}
    return OPENAI.streamed(*pieces, chunk(**rest), chunk("tool_calls")), OPENAI.streamed(chunk("stop", content="So."))


def wants_back(state: str) -> Judge:
    """Refuses a call of its own without what came with it."""

    def judge(request: dict[str, Any]) -> str | None:
        for place, said in enumerate(request["messages"]):
            if (
                any(call["id"] == "call_1" for call in said.get("tool_calls") or ())
                and STATES[state][1](said) != SENT[state]
            ):
                return f"{state} is missing in the assistant message at index {place}"
        return None

    return judge


def knows_nothing_else(request: dict[str, Any]) -> str | None:
    """Refuses members that OpenAI's own format does not have."""
    for place, said in enumerate(request["messages"]):
        unknown = set(said) - {"role", "content", "tool_calls", "tool_call_id", "name", "refusal", "prefix"}
        unknown |= {name for call in said.get("tool_calls") or () for name in set(call) - {"id", "type", "function"}}
        if unknown:
            return f"messages.{place}: unknown members {unknown}"
    return None


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("state", STATES)
def test_what_a_server_wants_back_it_is_given_in_every_request(store: str, state: str, streams: bool) -> None:
    async def hold(held: Talk) -> None:
        strict(held.servers["openai"], wants_back(state))
        for _ in range(2):
            run = await held.turn("openai", "thinker-1", tools=(SEARCH,), stream=streams)
            assert run.status == "completed", run.error_message
        assert texts(held) == ["So.", "So."]
        assert [one.origin for one in held.events(ReasoningRecorded)] == [held.servers["openai"].base_url[7:-3]]
        assert not any("reasoning" in line for lines in held.not_sent() for line in lines)

    talk(store, {"openai": thinks(state, streams)}, hold)


@pytest.mark.parametrize("state", STATES)
def test_others_are_not_given_it_and_the_manifest_says_so(state: str) -> None:
    first, last = thinks(state, False)
    replies = {
        "openai": (first, last),
        "mistral": (MISTRAL.streamed(chunk("stop", content="Bien.")),),
        "anthropic": (json_reply(ANTHROPIC.whole("Well.")),),
    }

    async def hold(held: Talk) -> None:
        strict(held.servers["openai"], wants_back(state))
        strict(held.servers["mistral"], knows_nothing_else)
        await held.turn("openai", "thinker-1", tools=(SEARCH,))
        for provider in ("mistral", "anthropic", "openai"):
            run = await held.turn(provider, "thinker-1" if provider == "openai" else None, tools=(SEARCH,))
            assert run.status == "completed", run.error_message
        notes = held.not_sent()
        assert "reasoning of openai is not for mistral" in notes[2][0]
        assert "reasoning of openai is not for anthropic" in notes[3][0]
        assert not any("reasoning" in line for line in notes[4])
        # Another model of the same provider is another server, or may be.
        strict(held.servers["openai"], knows_nothing_else if state != "reasoning_content" else wants_back(state))
        assert (await held.turn("openai", "gpt-4o", tools=(SEARCH,))).status == "completed"
        told = [line for line in held.not_sent()[5] if "reasoning of thinker-1" in line]
        assert bool(told) == (state != "reasoning_content")

    talk(":memory:", replies, hold)


def test_a_thread_of_others_may_be_gone_on_with_by_a_model_that_wants_thoughts() -> None:
    """DeepSeek refuses every answer in which there is nothing of what was thought, whoever gave it."""

    def judge(request: dict[str, Any]) -> str | None:
        spoken = [said for said in request["messages"] if said["role"] == "assistant"]
        return (
            None
            if all(said.get("reasoning_content") for said in spoken)
            else "The `reasoning_content` must be passed back"
        )

    replies = {
        "mistral": (MISTRAL.streamed(chunk("stop", content="Bien.")),),
        "openai": thinks("reasoning_content", True),
    }

    async def hold(held: Talk) -> None:
        strict(held.servers["openai"], judge)
        await held.turn("mistral")
        for _ in range(2):
            run = await held.turn("openai", "deepseek-v4-pro", tools=(SEARCH,))
            assert run.status == "completed", run.error_message

    talk(":memory:", replies, hold)


# How answers end

OF_ALL = pytest.mark.parametrize("kind", EVERY, ids=str)


def said(kind: Kind, reason: str) -> Reply:
    if kind is ANTHROPIC:
        return kind.streamed(*kind.begun, *ended(reason))
    return kind.streamed(chunk(content="Hel"), chunk(reason))


def calls(kind: Kind, arguments: str, reason: str, name: str = "search") -> Reply:
    if kind is ANTHROPIC:
        begun = block(0, type="tool_use", id="call_1", name=name, input={})
        return kind.streamed(start(), begun, delta(0, "input_json", partial_json=arguments), *ended(reason))
    call = {**CALL, "function": {"name": name, "arguments": arguments}}
    return kind.streamed(chunk(tool_calls=[call]), chunk(reason))


@OF_ALL
@pytest.mark.parametrize("executor", ["server", "client"])
def test_a_call_that_was_cut_by_an_unknown_end_is_never_made(store: str, kind: Kind, executor: str) -> None:
    tool = SEARCH if executor == "server" else Tool(type="function", name="ask_user")
    cut = calls(kind, '{"q": "x', "repetition_limit", tool.name)

    async def hold(held: Talk) -> None:
        strict(held.servers[kind.name])
        run = await held.turn(kind.name, tools=(tool,))
        assert run.status == "completed", run.error_message
        [called], [failed] = held.events(ToolCalled), held.events(ToolFailed)
        assert (called.arguments, failed.reason) == ('{"q": "x', "arguments")
        assert held.events(ToolReturned) == []
        assert [one.finish_reason for one in held.events(ModelAnswered)] == ["repetition_limit", "stop"]
        assert "cut short" in str(held.servers[kind.name].bodies[-1])
        with held.engine.log.reading() as reader:
            [run_id] = runs_of(held, reader)
            notes = [note.what for note in audit(reader, run_id).notes]
        assert "an answer ended for a reason that Clew does not know: 'repetition_limit'" in notes

    talk(store, {kind.name: (cut, said(kind, "stop"))}, hold)


@OF_ALL
def test_a_call_that_is_whole_is_made_whatever_the_end(kind: Kind) -> None:
    async def hold(held: Talk) -> None:
        run = await held.turn(kind.name, tools=(SEARCH,))
        assert run.status == "completed", run.error_message
        assert [one.output for one in held.events(ToolReturned)] == ["found x"]

    talk(":memory:", {kind.name: (calls(kind, '{"q": "x"}', "repetition_limit"), said(kind, "stop"))}, hold)


@OF_ALL
@pytest.mark.parametrize(
    ("reason", "status", "why"),
    [
        ("MAX_TOKENS", "incomplete", "max_completion_tokens"),
        ("max_tokens", "incomplete", "max_completion_tokens"),
        ("model_length", "incomplete", "max_completion_tokens"),
        ("SAFETY", "failed", None),
        ("refusal", "failed", None),
        ("repetition_limit", "completed", None),
    ],
)
def test_a_run_ends_as_its_answer_did(kind: Kind, reason: str, status: str, why: str | None) -> None:
    async def hold(held: Talk) -> None:
        run = await held.turn(kind.name)
        assert (run.status, run.incomplete_reason) == (status, why)
        assert texts(held) == ["Hel"]

    talk(":memory:", {kind.name: (said(kind, reason),)}, hold)


@OF_ALL
@pytest.mark.parametrize("reason", ["error", "network_error", "insufficient_system_resource", "abort"])
def test_an_answer_that_ended_in_a_fault_is_a_failed_attempt(store: str, kind: Kind, reason: str) -> None:
    async def hold(held: Talk) -> None:
        run = await held.turn(kind.name)
        assert run.status == "completed", run.error_message
        [failed], [answered] = held.events(ModelFailed), held.events(ModelAnswered)
        assert (failed.code, failed.attempt, answered.attempt) == ("server_error", 1, 2)
        assert texts(held) == ["Hel"]

    talk(store, {kind.name: (said(kind, reason), said(kind, "stop"))}, hold)


@OF_ALL
def test_a_half_of_a_character_in_arguments_reaches_no_tool(kind: Kind) -> None:
    async def hold(held: Talk) -> None:
        strict(held.servers[kind.name])
        run = await held.turn(kind.name, tools=(SEARCH,))
        assert run.status == "completed", run.error_message
        assert [one.arguments for one in held.events(ToolCalled)] == ['{"q": "\\ud83d"}']
        [returned] = held.events(ToolReturned)
        assert returned.output == "found \N{REPLACEMENT CHARACTER}"

    talk(":memory:", {kind.name: (calls(kind, '{"q": "\\ud83d"}', "tool_use"), said(kind, "stop"))}, hold)


@pytest.mark.parametrize(("error", "status"), [({"message": "gone", "code": 502}, 502), ({"message": "gone"}, None)])
def test_the_status_of_a_failed_attempt_is_in_the_log(error: dict[str, Any], status: int | None) -> None:
    """Also one that an answer says after it has begun; a replay hears the same."""
    inside = OPENAI.streamed(*OPENAI.begun, {"error": error})
    refused = json_reply({"error": {"message": "slow down"}}, 429, "retry-after-ms: 10\r\n")

    async def hold(held: Talk) -> None:
        run = await held.turn("openai", stream=True)
        assert run.status == "completed", run.error_message
        failed = held.events(ModelFailed)
        assert [(one.status, one.usage_unknown) for one in failed] == [(status, True), (429, False)]

    talk(":memory:", {"openai": (inside, refused, said(OPENAI, "stop"))}, hold)
