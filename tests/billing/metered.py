"""Conversations held by the real engine with a provider that meters as real ones do: it counts what it is sent in a
way of its own, which is not ours, and has cached the beginning that it has seen before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import orjson

from clew.engine.counting import new_message, text_tokens
from clew.engine.engine import Engine
from clew.engine.outcome import outcome
from clew.events.base import Recorded
from clew.events.content import JsonObject, text
from clew.events.run import RunConfig, RunQueued, Tool, Truncation
from clew.ids import new_id
from clew.providers import openai_render
from clew.providers.base import Answer, CalledTool, ModelInfo, Piece, Prompt
from clew.providers.usage import of_chat
from clew.rules.commands import AppendMessages, CreateThread, QueueRun, SubmitToolOutputs
from clew.rules.parts import ToolOutput

# A token for so many bytes, and so many around each message: near to what we count, and never the same.
_BYTES_PER_TOKEN = 3
_AROUND = 5
# Caches hold whole blocks.
_CACHED_BLOCK = 16

FOUND = "Found: " + "data " * 60
LOOK_UP = Tool(type="function", name="look_up", parameters={"type": "object", "properties": {}})


@dataclass
class Metered:
    """Calls a tool when the newest message asks it to look something up, else says something about it."""

    name: str = "openai"
    renderer: str = openai_render.RENDERER
    seen: list[list[bytes]] = field(default_factory=list)
    billed: list[JsonObject] = field(default_factory=list)

    def render(self, prompt: Prompt) -> bytes:
        return openai_render.render(prompt)

    async def call(self, body: bytes) -> AsyncGenerator[Piece]:
        asked = orjson.loads(body)
        parts = [orjson.dumps(asked.get("tools")), *map(orjson.dumps, asked["messages"])]
        newest = asked["messages"][-1]
        said = f"I see: {str(newest.get('content'))[:80]}. " + "That is what I know of it. " * 3
        calls: tuple[CalledTool, ...] = ()
        if newest["role"] == "user" and "look up" in str(newest["content"]) and asked.get("tools"):
            calls = (CalledTool(f"call_{len(self.seen)}", "look_up", "{}"),)
        reported = self._meter(parts, said)
        yield Answer(
            text=None if calls else said,
            refusal=None,
            tool_calls=calls,
            reasoning=(),
            finish_reason="tool_calls" if calls else "stop",
            model=asked["model"],
            usage=of_chat(reported),
            usage_reported=reported,
            provider_ids={},
        )

    def _meter(self, parts: list[bytes], said: str) -> JsonObject:
        counts = [len(part) // _BYTES_PER_TOKEN + _AROUND for part in parts]
        cached = max((_common(parts, counts, before) for before in self.seen), default=0)
        self.seen.append(parts)
        reported: JsonObject = {
            "prompt_tokens": sum(counts),
            "completion_tokens": len(said) // _BYTES_PER_TOKEN,
            "prompt_tokens_details": {"cached_tokens": cached - cached % _CACHED_BLOCK},
        }
        self.billed.append(reported)
        return reported

    async def models(self) -> list[ModelInfo]:
        return []

    async def close(self) -> None:
        """Nothing is open."""


def _common(parts: Sequence[bytes], counts: Sequence[int], before: Sequence[bytes]) -> int:
    number = next((n for n, (one, other) in enumerate(zip(parts, before, strict=False)) if one != other), None)
    return sum(counts[: min(len(parts), len(before)) if number is None else number])


def configured(truncation: Truncation | None = None, **changes: Any) -> RunConfig:
    config = RunConfig(
        provider="openai",
        model="gpt-4o",
        asked_model="gpt-4o",
        instructions="You know a few things, and say them.",
        tools=(LOOK_UP,),
        truncation=truncation or Truncation(),
    )
    return config.model_copy(update=changes)


async def converse(engine: Engine, config: RunConfig, turns: int, *, thread_id: str | None = None) -> str:
    """So many turns of a user, every third with a tool; gives the thread."""
    if thread_id is None:
        thread_id = new_id("thread")
        created = CreateThread(thread_id=thread_id, tenant="default", dialect="test", metadata={}, tool_resources={})
        await engine.desk.on_thread(thread_id, lambda: created, new=True)
    for number in range(turns):
        said = f"Question {number}: " + ("look up this, please. " if number % 3 == 1 else "tell me more. ") * 8
        await turn(engine, thread_id, config, said)
    return thread_id


async def turn(engine: Engine, thread_id: str, config: RunConfig, said: str) -> None:
    message = AppendMessages(thread_id=thread_id, messages=(new_message("user", text(said)),))
    await engine.desk.on_thread(thread_id, lambda: message)
    run = QueueRun(
        thread_id=thread_id, run_id=new_id("run"), dialect="test", config=config, expires_at=None, metadata={}
    )
    done = await engine.desk.on_thread(thread_id, lambda: run)
    queued = cast("Recorded[Any]", next(one for one in done.events if isinstance(one.event, RunQueued)))
    view = await asyncio.wait_for(outcome(engine, queued), 30)
    while view.status == "requires_action":
        outputs = tuple(ToolOutput(tool_call_id=id, output=FOUND, tokens=text_tokens(FOUND)) for id in view.waits_for)
        submitted = SubmitToolOutputs(thread_id=thread_id, run_id=run.run_id, outputs=outputs, past_status=view.status)
        answered = await engine.desk.on_thread(thread_id, partial(_same, submitted))
        view = await asyncio.wait_for(outcome(engine, queued, answered=answered.events[-1].version), 30)


def _same(command: SubmitToolOutputs) -> SubmitToolOutputs:
    return command
