"""One conversation through each official SDK: saying something, answering calls, reading all of it.

Each of them goes on with what the others have made: all they know of it is in `Shared`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import anthropic
import httpx2
from anthropic import AsyncAnthropic
from mistralai.client import Mistral
from openai import AsyncOpenAI

from clew.ids import reprefixed
from tests.rigs import mistral_talks, talks
from tests.rigs.mistral_talks import Ended, Said, insist
from tests.rigs.switching import Provider
from tests.rigs.talks import Recording, Talk, text_of

# Who said what.
Text = tuple[str, str]
# The id of a call, what is called, the arguments, and what came of it.
Called = tuple[str, str, Any, str | None]
_MAX_TOKENS = 1_000


@dataclass
class Shared:
    """`thread` and `assistant` are the 24 characters that all APIs share; the thread has none before it is begun."""

    recording: Recording
    talk: Talk
    assistant: str
    thread: str = ""

    @property
    def instructions(self) -> str:
        return f"{self.recording.system}\nconversation: {self.talk.key}"


class Voice(Protocol):
    """`chooses` says whether whoever answers calls also says which model goes on."""

    name: ClassVar[str]
    chooses: ClassVar[bool]

    async def say(self, text: str, provider: Provider, place: int) -> Said:
        """Raises `Ended` when the provider has no more."""
        ...

    async def answer(self, results: list[tuple[str, str]], provider: Provider, place: int) -> Said: ...

    async def read(self) -> tuple[list[Text], list[Called]]: ...


def _tail(id: str, prefix: str) -> str:
    assert id.startswith(f"{prefix}_"), id
    return id.partition("_")[2]


# OpenAI


@dataclass
class OpenAIVoice:
    name: ClassVar[str] = "openai"
    chooses: ClassVar[bool] = False

    shared: Shared
    client: AsyncOpenAI
    stream: bool

    @property
    def _id(self) -> str:
        return f"thread_{self.shared.thread}"

    async def say(self, text: str, provider: Provider, place: int) -> Said:
        beta: Any = self.client.beta
        assistant = f"asst_{self.shared.assistant}"
        await beta.assistants.update(assistant, model=provider.model)
        if not self.shared.thread:
            self.shared.thread = _tail((await beta.threads.create()).id, "thread")
        await beta.threads.messages.create(self._id, role="user", content=text)
        player = self._player()
        return await self._said(player, await player.start(assistant, place))

    def _player(self) -> talks.Player:
        return talks.Player(self.client, self.shared.recording, self.shared.talk, self.stream, self._id)

    async def answer(self, results: list[tuple[str, str]], provider: Provider, place: int) -> Said:
        runs: Any = self.client.beta.threads.runs
        [run] = (await runs.list(self._id, limit=1)).data
        waiting = [call.id for call in run.required_action.submit_tool_outputs.tool_calls]
        assert waiting == [id for id, _ in results], f"{waiting} wait"
        outputs = [{"tool_call_id": id, "output": output} for id, output in results]
        if self.stream:
            events = await runs.submit_tool_outputs(run.id, thread_id=self._id, tool_outputs=outputs, stream=True)
            async for event in events:
                if event.event.startswith("thread.run.") and ".step" not in event.event:
                    run = event.data
        else:
            run = await runs.submit_tool_outputs(run.id, thread_id=self._id, tool_outputs=outputs)
        return await self._said(self._player(), run)

    async def _said(self, player: talks.Player, run: Any) -> Said:
        run = await player.settled(run)
        if run.status == "failed":
            raise Ended(run.last_error.message)
        messages: Any = self.client.beta.threads.messages
        newest = (await messages.list(self._id, limit=1)).data[0]
        text = text_of(newest) if newest.role == "assistant" else ""
        if run.status == "requires_action":
            asked = run.required_action.submit_tool_outputs.tool_calls
            return Said(text, [(call.id, call.function.name, call.function.arguments) for call in asked])
        assert run.status == "completed", run
        return Said(text, [])

    async def read(self) -> tuple[list[Text], list[Called]]:
        threads: Any = self.client.beta.threads
        texts = [(one.role, text_of(one)) async for one in threads.messages.list(self._id, order="asc", limit=100)]
        calls: list[Called] = []
        async for run in threads.runs.list(self._id, order="asc", limit=100):
            async for step in threads.runs.steps.list(run.id, thread_id=self._id, order="asc", limit=100):
                for call in getattr(step.step_details, "tool_calls", None) or ():
                    of = call.function
                    calls.append((call.id, of.name, json.loads(of.arguments), of.output))
        return texts, calls


# Mistral


@dataclass
class _OfAgent(mistral_talks.Player):
    agent_id: str = ""

    def _about(self) -> dict[str, Any]:
        return {"agent_id": self.agent_id, "metadata": {"talk": self.talk.key}}


@dataclass
class MistralVoice:
    name: ClassVar[str] = "mistral"
    chooses: ClassVar[bool] = False

    shared: Shared
    client: Mistral
    stream: bool

    async def say(self, text: str, provider: Provider, place: int) -> Said:
        agents: Any = self.client.beta.agents
        await agents.update_async(agent_id=f"ag_{self.shared.assistant}", model=provider.model)
        return await self._ask(text, place)

    async def answer(self, results: list[tuple[str, str]], provider: Provider, place: int) -> Said:
        inputs = [{"type": "function.result", "tool_call_id": id, "result": output} for id, output in results]
        return await self._ask(inputs, place)

    async def _ask(self, inputs: Any, place: int) -> Said:
        shared = self.shared
        player = _OfAgent(self.client, shared.recording, shared.talk, "", self.stream)
        player.agent_id = f"ag_{shared.assistant}"
        player.conversation_id = f"conv_{shared.thread}" if shared.thread else ""
        said = await player.ask(place, inputs)
        shared.thread = _tail(player.conversation_id, "conv")
        return said

    async def read(self) -> tuple[list[Text], list[Called]]:
        talks: Any = self.client.beta.conversations
        history = await insist(lambda: talks.get_history_async(conversation_id=f"conv_{self.shared.thread}"))
        texts: list[Text] = []
        calls: list[Called] = []
        for entry in history.entries:
            if entry.type == "function.call":
                calls.append((entry.tool_call_id, entry.name, json.loads(entry.arguments), None))
            elif entry.type == "function.result":
                _answered(calls, entry.tool_call_id, entry.result)
            else:
                texts.append((entry.role, mistral_talks.text_of(entry.content)))
        return texts, calls


def _answered(calls: list[Called], id: str, output: str) -> None:
    """Some of the recorded ids come again: it is the oldest that has no answer yet."""
    at = next(at for at, call in enumerate(calls) if call[0] == id and call[3] is None)
    calls[at] = (*calls[at][:3], output)


# Anthropic


@dataclass
class AnthropicVoice:
    """How it says which thread it means changes from request to request, and is counted in `ways`."""

    name: ClassVar[str] = "anthropic"
    chooses: ClassVar[bool] = True

    shared: Shared
    client: AsyncAnthropic
    stream: bool
    ways: list[str] = field(default_factory=list)

    async def say(self, text: str, provider: Provider, place: int) -> Said:
        return await self._ask(text, provider)

    async def answer(self, results: list[tuple[str, str]], provider: Provider, place: int) -> Said:
        blocks = [{"type": "tool_result", "tool_use_id": id, "content": output} for id, output in results]
        return await self._ask(blocks, provider)

    async def _ask(self, content: Any, provider: Provider) -> Said:
        shared, way = self.shared, ("continue", "header", "history")[len(self.ways) % 3]
        messages: list[Any] = [{"role": "user", "content": content}]
        more: dict[str, Any] = {"system": shared.instructions, "tools": _tools(shared.recording)}
        if not shared.thread:
            way = "begin"
        elif way == "continue":
            told = await self._get(f"/v1/threads/thread_{shared.thread}")
            more = {"thread": {"type": "continue", "previous_message_id": told["last_message_id"]}}
            more["betas"] = ["message-threads-2026-08-12"]
        elif way == "header":
            more["extra_headers"] = {"x-thread-id": f"thread_{shared.thread}"}
        else:
            messages = [{"role": one["role"], "content": one["content"]} for one in await self._messages()] + messages
        self.ways.append(way)
        try:
            thread, message = await self._made(model=provider.model, max_tokens=_MAX_TOKENS, messages=messages, **more)
        except anthropic.APIStatusError as error:
            raise Ended(str(error)) from error
        thread = _tail(thread, "thread")
        assert shared.thread in ("", thread), f"{shared.talk.key}: by {way} it went to another thread"
        shared.thread = thread
        text = "".join(block.text for block in message.content if block.type == "text")
        calls = [(one.id, one.name, json.dumps(one.input)) for one in message.content if one.type == "tool_use"]
        return Said(text, calls)

    async def _made(self, **request: Any) -> tuple[str, Any]:
        messages: Any = self.client.beta.messages
        if self.stream:
            async with messages.stream(**request) as stream:
                return stream.response.headers["x-thread-id"], await stream.get_final_message()
        made = await messages.with_raw_response.create(**request)
        return made.headers["x-thread-id"], await made.parse()

    async def _get(self, path: str, **query: Any) -> Any:
        return await self.client.get(path, cast_to=object, options={"params": query})

    async def _messages(self) -> list[Any]:
        found: list[Any] = []
        page: dict[str, str] = {}
        while True:
            path = f"/v1/threads/thread_{self.shared.thread}/messages"
            answer = await self._get(path, limit=100, **page)
            found += answer["data"]
            if answer["next_page"] is None:
                return found
            page = {"page": answer["next_page"]}

    async def read(self) -> tuple[list[Text], list[Called]]:
        texts: list[Text] = []
        calls: list[Called] = []
        for message in await self._messages():
            said = ""
            for block in message["content"]:
                match block["type"]:
                    case "text":
                        said += block["text"]
                    case "tool_use":
                        calls.append((block["id"], block["name"], block["input"], None))
                    case "tool_result":
                        _answered(calls, block["tool_use_id"], "".join(one["text"] for one in block["content"]))
                    case _:
                        pass
            if said:
                texts.append((message["role"], said))
        return texts, calls


def _tools(recording: Recording) -> list[Any]:
    found = []
    for tool in recording.tools:
        of = tool["function"]
        found.append({"name": of["name"], "description": of["description"], "input_schema": of["parameters"]})
    return found


# All of them


@dataclass
class Sdks:
    """The official SDKs, unmodified and strict, for a server or for a point in its past. Whoever made `http` closes
    it; asking for anything reads no certificates."""

    url: str
    http: httpx2.AsyncClient
    never_used: httpx2.Client

    def __post_init__(self) -> None:
        strict: dict[str, Any] = {"max_retries": 0, "http_client": self.http, "_strict_response_validation": True}
        self.openai = AsyncOpenAI(base_url=f"{self.url}/openai/v1", api_key="x", **strict)
        self.anthropic = AsyncAnthropic(base_url=f"{self.url}/anthropic", api_key="x", **strict)
        self.mistral = Mistral(
            api_key="x", server_url=f"{self.url}/mistral", client=self.never_used, async_client=self.http
        )

    def voices(self, shared: Shared, *, stream: bool = False) -> dict[str, Voice]:
        return {
            "openai": OpenAIVoice(shared, self.openai, stream),
            "mistral": MistralVoice(shared, self.mistral, stream),
            "anthropic": AnthropicVoice(shared, self.anthropic, stream),
        }

    async def assistant(self, recording: Recording, talk: Talk) -> Shared:
        """One that answers as recorded, made through OpenAI's SDK."""
        shared = Shared(recording, talk, "")
        assistants: Any = self.openai.beta.assistants
        made = await assistants.create(model=recording.model, instructions=shared.instructions, tools=recording.tools)
        shared.assistant = _tail(reprefixed(made.id, "asst"), "asst")
        return shared
