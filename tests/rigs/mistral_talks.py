"""Real agent conversations, held through Mistral's official SDK: a client plays user and tools from the recordings.

    python -m tests.rigs.mistral_talks                            all 100, each answer waited for
    python -m tests.rigs.mistral_talks --stream --fail-every 7 --cut-stream-every 11
    python -m tests.rigs.mistral_talks --provider mistral         the models' side speaks Mistral's format, too
    python -m tests.rigs.mistral_talks --kill-every 3 --count 20  the server is killed every 3 seconds

It prints one JSON object. Every text, tool name and argument must come as recorded, and be in the history afterwards;
a recording that ends with a tool's result must end with an error, because the provider has no more.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from mistralai.client import Mistral
from mistralai.client.errors import SDKError

from clew.ids import reprefixed
from tests.rigs.attempts import compare_calls
from tests.rigs.killing import kill_again_and_again
from tests.rigs.processes import Fleet, Server, a_fleet, upstream
from tests.rigs.prompts import compare_prompts
from tests.rigs.switching import PROVIDERS, Provider, as_made_by, environment_for
from tests.rigs.talks import Recording, Talk, load

_GIVE_UP_SECONDS = 90.0


@dataclass(frozen=True)
class Said:
    """A response: what was said in it, and which calls were wanted."""

    text: str
    calls: list[tuple[str, str, str]]


class Ended(Exception):
    """The response is an error: the provider has no more."""


@dataclass
class Player:
    """One conversation. Every request carries a key, so that it can be sent again."""

    client: Mistral
    recording: Recording
    talk: Talk
    model: str
    stream: bool
    conversation_id: str = ""
    responses: int = 0
    calls: int = 0

    @property
    def thread_id(self) -> str:
        return reprefixed(self.conversation_id, "thread")

    async def play(self) -> None:
        place, messages = 0, self.talk.messages
        while place < len(messages) - 1:
            inputs: Any = messages[place]["content"]
            place += 1
            while True:
                try:
                    said = await self.ask(place, inputs)
                except Ended:
                    assert place == len(messages), f"{self.talk.key}: an error at {place}"
                    return
                assert place < len(messages), f"{self.talk.key}: an answer after the recording's end"
                expected = messages[place]
                place += 1
                wanted = [
                    (one["id"], one["function"]["name"], one["function"]["arguments"])
                    for one in expected.get("tool_calls") or ()
                ]
                found, recorded = (said.text, said.calls), (expected["content"] or "", wanted)
                assert found == recorded, f"{self.talk.key} at {place}: {found} is not {recorded}"
                if not wanted:
                    break
                inputs = []
                for tool_call_id, _, _ in wanted:
                    result = {"tool_call_id": tool_call_id, "result": messages[place]["content"]}
                    inputs.append({"type": "function.result", **result})
                    place += 1

    async def ask(self, place: int, inputs: Any) -> Said:
        key = {"Idempotency-Key": f"{self.talk.key} {place}"}
        talks: Any = self.client.beta.conversations
        if not self.conversation_id:
            about = self._about()
            ask, ask_stream = talks.start_async, talks.start_stream_async
        else:
            about = {"conversation_id": self.conversation_id}
            ask, ask_stream = talks.append_async, talks.append_stream_async
        wanted = {"inputs": inputs, "http_headers": key, **about}
        self.responses += 1
        said: Said = await insist(
            lambda: self._streamed(ask_stream(**wanted)) if self.stream else self._whole(ask(**wanted))
        )
        return said

    def _about(self) -> dict[str, Any]:
        """What a conversation begins with besides what is said."""
        return {
            "model": self.model,
            "instructions": f"{self.recording.system}\nconversation: {self.talk.key}",
            "tools": self.recording.tools,
            "metadata": {"talk": self.talk.key},
        }

    async def _whole(self, asked: Awaitable[Any]) -> Said:
        response = await asked
        self.conversation_id = response.conversation_id
        texts = [text_of(one.content) for one in response.outputs if one.type == "message.output"]
        calls = [(one.tool_call_id, one.name, one.arguments) for one in response.outputs if one.type == "function.call"]
        return Said("".join(texts), calls)

    async def _streamed(self, asked: Awaitable[Any]) -> Said:
        """What is whole at the end: of an answer that broke off, the beginning is another output."""
        parts: dict[int, list[Any]] = {}
        last = None
        async for event in await asked:
            last = event.data
            if last.type == "conversation.response.started":
                self.conversation_id = last.conversation_id
            elif last.type == "conversation.response.error":
                raise Ended(last.message)
            else:
                parts.setdefault(getattr(last, "output_index", -1), []).append(last)
        if last is None or last.type != "conversation.response.done":
            raise httpx2.ReadError("the stream has no end")
        whole = [parts[place] for place in sorted(parts)]
        texts = [
            "".join(text_of(one.content) for one in part) for part in whole if part[0].type == "message.output.delta"
        ]
        calls = [
            (part[0].tool_call_id, part[0].name, "".join(one.arguments for one in part))
            for part in whole
            if part[0].type == "function.call.delta"
        ]
        return Said(texts[-1] if texts else "", calls)

    async def check(self) -> None:
        """Everything is in the history once, in order."""
        talks: Any = self.client.beta.conversations
        history = await insist(lambda: talks.get_history_async(conversation_id=self.conversation_id))
        found: list[Any] = []
        for entry in history.entries:
            match entry.type:
                case "function.call":
                    found.append((entry.tool_call_id, entry.name, entry.arguments))
                case "function.result":
                    found.append((entry.tool_call_id, entry.result))
                case _:
                    found.append(entry.content)
        expected: list[Any] = []
        for message in self.talk.messages:
            if message["role"] == "tool":
                expected.append((message["tool_call_id"], message["content"]))
                continue
            if message["content"]:
                expected.append(message["content"])
            for call in message.get("tool_calls") or ():
                expected.append((call["id"], call["function"]["name"], call["function"]["arguments"]))
                self.calls += 1
        if self.talk.messages[-1]["role"] == "user":
            expected.pop()
        assert found == expected, f"{self.talk.key}: {len(found)} entries, {len(expected)} recorded"


def text_of(content: Any) -> str:
    """What is said, in a message or a piece of one, without what was thought."""
    if isinstance(content, str):
        return content
    return "".join(chunk.text for chunk in content if chunk.type == "text") if isinstance(content, list) else ""


async def insist(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Ask until there is an answer: the server may be away. With a key, asking twice does it once."""
    end = time.monotonic() + _GIVE_UP_SECONDS
    while True:
        try:
            return await ask()
        except SDKError as error:
            if error.status_code in (400, 424):
                raise Ended(error.body) from error
            if time.monotonic() > end:
                raise
        except httpx2.HTTPError:
            if time.monotonic() > end:
                raise
        await asyncio.sleep(0.1)


async def hold(
    url: str,
    fleet: Fleet,
    *,
    provider: Provider,
    stream: bool,
    count: int,
    at_once: int,
    kill_every: float = 0,
) -> dict[str, Any]:
    """Hold the first `count` conversations, `at_once` at a time; raises `AssertionError` at the first difference."""
    recording = load()
    gate = asyncio.Semaphore(at_once)
    killed: Counter[str] = Counter()
    model = provider.model.partition("/")[2] if provider.name == "mistral" else provider.model
    async with contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(Mistral(api_key="k", server_url=f"{server.url}/mistral"))
            for server in fleet.servers
        ]
        players = [
            Player(clients[number % len(clients)], recording, as_made_by(talk, [provider]), model, stream)
            for number, talk in enumerate(recording.talks[:count])
        ]

        async def one(player: Player) -> None:
            async with gate:
                await player.play()

        killer = asyncio.create_task(kill_again_and_again(fleet, kill_every, killed)) if kill_every else None
        try:
            await asyncio.gather(*map(one, players))
        finally:
            if killer is not None:
                killer.cancel()
                await asyncio.gather(killer, return_exceptions=True)
                fleet.start_what_is_down()
        for player in players:
            await player.check()
        threads = [player.thread_id for player in players]
        proven = await compare_prompts(url, fleet.url(0), threads)
        asked = await compare_calls(url, fleet.url(0), threads)
    return {
        "conversations": len(players),
        "ended_open": sum(player.talk.ends_open for player in players),
        "responses": sum(player.responses for player in players),
        "function_calls": sum(player.calls for player in players),
        "streamed": stream,
        "kills": dict(killed),
        **asked,
        **proven,
    }


@dataclass
class Rig:
    """The provider's side and Clew's, for as long as it is open."""

    provider: Provider
    folder: Path
    faults: tuple[str, ...] = ()
    database: str | None = None
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> tuple[str, Fleet]:
        url = self._stack.enter_context(upstream(*self.faults, module=self.provider.module))
        environment = environment_for({self.provider.name: url})
        if self.database is not None:
            fleet = a_fleet(self.database, 2, 2, 2.0, environment)
        else:
            fleet = Fleet([Server(self.folder / "talks.db", environment=environment)])
        return url, self._stack.enter_context(fleet)

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--provider", choices=list(PROVIDERS), default="openai")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=10)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--fail-every", type=int, default=0)
    parser.add_argument("--cut-stream-every", type=int, default=0)
    parser.add_argument("--kill-every", type=float, default=0, help="seconds between kills of the server")
    options = parser.parse_args()
    faults = ("--fail-every", str(options.fail_every), "--cut-stream-every", str(options.cut_stream_every))
    provider = PROVIDERS[options.provider]
    with tempfile.TemporaryDirectory() as folder, Rig(provider, Path(folder), faults) as (url, fleet):
        found = asyncio.run(
            hold(
                url,
                fleet,
                provider=provider,
                stream=options.stream,
                count=options.count,
                at_once=options.at_once,
                kill_every=options.kill_every,
            )
        )
    json.dump(found, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
