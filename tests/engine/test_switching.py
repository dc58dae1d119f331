"""One thread, several providers: each is given what it understands, and the log says what it was not given."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import orjson
import pytest

import clew
from clew.audit.prompts import exact_prompts
from clew.engine.counting import new_message
from clew.engine.engine import Engine
from clew.engine.outcome import outcome
from clew.events.base import Recorded
from clew.events.content import text
from clew.events.model import ContextAssembled, ModelAnswered, ModelFailed, ReasoningRecorded
from clew.events.run import RunConfig, RunQueued, Sampling
from clew.ids import new_id
from clew.providers.anthropic import Anthropic
from clew.providers.base import Provider
from clew.providers.mistral import Mistral
from clew.providers.openai import OpenAI
from clew.rules.commands import CreateThread, QueueRun
from clew_projections.run_view import RunView
from tests.providers.calls import completion as openai_completion
from tests.providers.kinds import ANTHROPIC, message
from tests.providers.kinds import completion as mistral_completion
from tests.rigs.raw_server import Reply, Server, json_reply, reply, serving

# As the server wrote it: with spaces, and an escape that nobody needs.
THOUGHT = '{"type": "thinking", "thinking": "Hm \\u2026", "signature": "c2ln"}'
ANSWER = (
    f'{{"id":"msg_1","model":"m","content":[{THOUGHT},{{"type":"text","text":"Hello."}}],"stop_reason":"end_turn"}}'
)
CHUNK = {"type": "thinking", "thinking": [{"type": "text", "text": "Well."}], "closed": True}
MODELS = {"anthropic": "claude-opus-5-5", "mistral": "mistral-large-4", "openai": "gpt-4o"}


class Talk:
    """A thread, and a server for each provider that says the same to everything."""

    def __init__(self, engine: Engine, servers: dict[str, Server]) -> None:
        self.engine = engine
        self.servers = servers
        self.thread_id = new_id("thread")

    async def turn(self, provider: str, model: str | None = None, **more: Any) -> RunView:
        """A user says something, and a model of this provider answers."""
        chosen = model or MODELS[provider]
        said = (new_message("user", text("And?")),)
        run = QueueRun(
            thread_id=self.thread_id,
            run_id=new_id("run"),
            dialect="test",
            config=RunConfig(provider=provider, model=chosen, asked_model=chosen, **more),
            expires_at=None,
            metadata={},
            additional_messages=said,
        )
        done = await self.engine.desk.on_thread(self.thread_id, lambda: run)
        queued = next(one for one in done.events if isinstance(one.event, RunQueued))
        return await asyncio.wait_for(outcome(self.engine, queued), 20)  # type: ignore[arg-type]

    def events(self, kind: type[Any]) -> list[Any]:
        with self.engine.log.reading() as reader:
            return [one.event for one in reader.stream(self.thread_id) if isinstance(one.event, kind)]

    def not_sent(self) -> list[list[str]]:
        """For each model call, what its manifest says that it was not given."""
        return [list(map(str, one.manifest.not_rendered)) for one in self.events(ContextAssembled)]


def made(name: str, server: Server) -> Provider:
    classes: dict[str, Callable[..., Provider]] = {"anthropic": Anthropic, "mistral": Mistral, "openai": OpenAI}
    return classes[name](base_url=server.base_url, api_key="sk-of-nobody")


def talk(store: str, replies: Mapping[str, tuple[Reply, ...]], what: Any) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            servers = {name: await stack.enter_async_context(serving(*said)) for name, said in replies.items()}
            providers = {name: made(name, server) for name, server in servers.items()}
            engine = await stack.enter_async_context(
                clew.open(store, providers=providers, default_provider=next(iter(providers)))
            )
            held = Talk(engine, servers)
            new = CreateThread(
                thread_id=held.thread_id, tenant="default", dialect="test", metadata={}, tool_resources={}, messages=()
            )
            await engine.desk.on_thread(held.thread_id, lambda: new, new=True)
            await what(held)

    asyncio.run(main())


REPLIES = {
    "anthropic": (reply(ANSWER.encode()),),
    "mistral": (json_reply(mistral_completion(content=[CHUNK, {"type": "text", "text": "Bonjour."}])),),
    "openai": (json_reply(openai_completion(content="Hi.", reasoning_content="So.")),),
}


def test_what_only_one_provider_understands_goes_to_it_alone_and_the_manifests_say_so(store: str) -> None:
    async def hold(held: Talk) -> None:
        for provider in ("anthropic", "openai", "mistral", "anthropic", "mistral"):
            run = await held.turn(provider)
            assert run.status == "completed", run.error_message
        sent = {name: [orjson.loads(body) for body in server.bodies] for name, server in held.servers.items()}
        # Signed thinking goes back as it came, between what was said before and after; nothing else of its kind does.
        assert THOUGHT.encode() in held.servers["anthropic"].bodies[1]
        assert [block["type"] for one in sent["anthropic"][1]["messages"] for block in one["content"]] == [
            *("text", "thinking", "text"),
            *("text", "text", "text", "text", "text"),
        ]
        assert "Hm" not in str(sent["openai"])
        assert "Hm" not in str(sent["mistral"])
        assert CHUNK in sent["mistral"][1]["messages"][5]["content"]
        missing = [[line.partition(": ")[2] for line in lines] for lines in held.not_sent()]
        assert missing == [
            [],
            ["reasoning of anthropic is not for openai"],
            ["reasoning of anthropic is not for mistral", "reasoning of openai is not for mistral"],
            ["reasoning of openai is not for anthropic", "reasoning of mistral is not for anthropic"],
            ["reasoning of anthropic is not for mistral", "reasoning of openai is not for mistral"],
        ]
        # Two of Anthropic's: told as a range and a number.
        assert "(2 in " in held.not_sent()[-1][0]
        recorded = [(one.provider, one.model) for one in held.events(ReasoningRecorded)]
        assert recorded == [(name, MODELS[name]) for name in ("anthropic", "openai", "mistral", "anthropic", "mistral")]
        assert held.events(ReasoningRecorded)[0].blocks == (THOUGHT,)
        received = {hashlib.sha256(body).hexdigest() for server in held.servers.values() for body in server.bodies}
        with held.engine.log.reading() as reader:
            prompts = [p for one in runs_of(held, reader) for p in exact_prompts(reader, one)]
        assert all(prompt.proven for prompt in prompts)
        assert {prompt.digest for prompt in prompts} == received

    talk(store, REPLIES, hold)


def runs_of(held: Talk, reader: Any) -> list[str]:
    found: list[Recorded[Any]] = reader.stream(held.thread_id)
    return [one.event.run_id for one in found if isinstance(one.event, RunQueued)]


def test_thinking_of_one_model_does_not_go_to_another_of_the_same_provider() -> None:
    async def hold(held: Talk) -> None:
        await held.turn("anthropic", "claude-fable-5-1")
        await held.turn("anthropic", "claude-opus-5-5")
        await held.turn("anthropic", "claude-fable-5-1")
        counts = [body.count(b'"signature"') for body in held.servers["anthropic"].bodies]
        assert counts == [0, 0, 1]
        assert [len(lines) for lines in held.not_sent()] == [0, 1, 1]
        assert "reasoning of claude-fable-5-1 is not for claude-opus-5-5" in held.not_sent()[1][0]

    talk(":memory:", {"anthropic": REPLIES["anthropic"]}, hold)


def test_a_setting_that_a_provider_does_not_take_is_in_the_manifest() -> None:
    async def hold(held: Talk) -> None:
        await held.turn("anthropic", sampling=Sampling(temperature=0.5, stop=("END",)))
        await held.turn("openai", sampling=Sampling(temperature=0.5, stop=("END",)))
        first, second = held.not_sent()
        assert first == ["temperature: this version of Anthropic's API does not take it"]
        assert second[1:] == []

    talk(":memory:", {name: REPLIES[name] for name in ("anthropic", "openai")}, hold)


@pytest.mark.parametrize("streams", [False, True])
def test_what_a_failed_attempt_used_is_in_the_log_as_far_as_the_provider_said(streams: bool) -> None:
    """A stream says at its beginning what it counts; a refusal uses nothing."""

    async def hold(held: Talk) -> None:
        run = await held.turn("anthropic", stream=streams)
        assert run.status == "completed"
        (failed,) = held.events(ModelFailed)
        if streams:
            assert (failed.code, failed.usage.input, failed.usage_unknown) == ("broken_stream", 3, False)
            assert failed.usage_reported == {"input_tokens": 3, "output_tokens": 1}
        else:
            assert (failed.code, failed.usage, failed.usage_unknown) == ("server_error", None, False)
            assert failed.retry_after_seconds == 0.01

    overloaded = json_reply(ANTHROPIC.error("busy", "overloaded_error"), 529, "retry-after-ms: 10\r\n")
    first = ANTHROPIC.cut(*ANTHROPIC.begun) if streams else overloaded
    whole = json_reply(message({"type": "text", "text": "Hello."}))
    talk(":memory:", {"anthropic": (first, whole)}, hold)


def test_an_answer_costs_what_its_parts_cost_read_from_the_cache_or_written_to_it() -> None:
    """By hand, for a million tokens: 4 in, 0.2 read, 5 and 8 written for five minutes and an hour, 20 out."""
    usage = {
        "input_tokens": 10,
        "cache_read_input_tokens": 1000,
        "cache_creation_input_tokens": 100,
        "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40},
        "output_tokens": 5,
    }
    said = message({"type": "text", "text": "Hello."}, model="claude-opus-5-5", usage=usage)
    fast = message({"type": "text", "text": "Hello."}, model="claude-opus-5-5", usage={**usage, "speed": "fast"})

    async def hold(held: Talk) -> None:
        await held.turn("anthropic")
        await held.turn("anthropic")
        prices = [one.price.amount for one in held.events(ModelAnswered)]
        assert prices == ["0.00096", "0.00192"]

    talk(":memory:", {"anthropic": (json_reply(said), json_reply(fast))}, hold)
