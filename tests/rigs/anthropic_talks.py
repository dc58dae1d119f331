"""Real agent conversations, held through Anthropic's official SDK: a client plays user and tools from the recordings.

    python -m tests.rigs.anthropic_talks                          all 100, each conversation in another way
    python -m tests.rigs.anthropic_talks --ways resent --stream --fail-every 7 --cut-stream-every 11
    python -m tests.rigs.anthropic_talks --providers openai anthropic mistral --think   each request on another model
    python -m tests.rigs.anthropic_talks --kill-every 3 --count 20   the server is killed every 3 seconds
    python -m tests.rigs.anthropic_talks --fleet --kill-every 3   any of two servers and two workers on PostgreSQL is

A way is how a conversation goes on: `continue` names the response before, `header` names the thread and sends what is
new, `whole` names the thread and sends everything again, and `resent` sends everything again and names nothing. The
client keeps the blocks that it got and sends them back as they are, as programs do.

It prints one JSON object. Every text, tool name and argument must come as recorded, and be in the thread afterwards,
which must be the only one; a recording that ends with a tool's result must end with an error: there is no more.
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
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anthropic
import httpx2
from anthropic import AsyncAnthropic

from tests.rigs.attempts import compare_calls
from tests.rigs.killing import kill_again_and_again
from tests.rigs.postgres import Postgres
from tests.rigs.processes import Fleet, Server, a_fleet
from tests.rigs.prompts import compare_prompts, events_of
from tests.rigs.switching import PROVIDERS, Provider, environment_for, made_by_call, upstreams
from tests.rigs.talks import Recording, Talk, load

WAYS = ("continue", "header", "whole", "resent")
_GIVE_UP_SECONDS = 90.0
_MAX_TOKENS = 4_096


class Ended(Exception):
    """There is no answer: the provider has no more."""


@dataclass
class Player:
    """One conversation. Every request carries a key, so that it can be sent again, or the SDK tries again itself."""

    client: AsyncAnthropic
    recording: Recording
    talk: Talk
    providers: Sequence[Provider]
    way: str
    stream: bool
    keys: bool = True
    history: list[Any] = field(default_factory=list)
    place: int = 0
    known: int = 0
    thread_id: str = ""
    previous: str = ""
    requests: int = 0
    calls: int = 0

    async def play(self, upto: int | None = None) -> None:
        """Go on with the conversation, to its end or to a place in it."""
        messages = self.talk.messages
        end = len(messages) if upto is None else upto
        while self.place < end and not (self.place == len(messages) - 1 and messages[-1]["role"] == "user"):
            self._say()
            try:
                answer = await self._ask(self.place)
            except Ended:
                assert self.place == len(messages), f"{self.talk.key}: an error at {self.place}"
                return
            assert self.place < len(messages), f"{self.talk.key}: an answer after the recording's end"
            self._check(answer, messages[self.place], self.place)
            self.history.append({"role": "assistant", "content": answer.content})
            self.known, self.previous = len(self.history), answer.id
            self.place += 1

    def _say(self) -> None:
        """What the user says, or what came of the calls."""
        messages = self.talk.messages
        content = messages[self.place]["content"]
        if messages[self.place]["role"] == "tool":
            content = []
            while self.place < len(messages) and (said := messages[self.place])["role"] == "tool":
                result = {"tool_use_id": said["tool_call_id"], "content": said["content"]}
                content.append({"type": "tool_result", **result})
                self.place += 1
        else:
            self.place += 1
        self.history.append({"role": "user", "content": content})

    def _check(self, answer: Any, expected: dict[str, Any], place: int) -> None:
        """It is as recorded."""
        wanted = calls_of(expected)
        found = (
            "".join(block.text for block in answer.content if block.type == "text"),
            [(block.id, block.name, block.input) for block in answer.content if block.type == "tool_use"],
        )
        recorded = (expected["content"] or "", wanted)
        assert found == recorded, f"{self.talk.key} at {place}: {found} is not {recorded}"
        assert answer.stop_reason == ("tool_use" if wanted else "end_turn"), answer

    async def _ask(self, place: int) -> Any:
        provider = self.providers[self.requests % len(self.providers)]
        self.requests += 1
        # A bare name is one of Anthropic's models.
        model = provider.model.removeprefix("anthropic/")
        headers = {"Idempotency-Key": f"{self.talk.key} {place}"} if self.keys else {}
        new = self.history[self.known :]
        system: Any = f"{self.recording.system}\nconversation: {self.talk.key}"
        wanted: dict[str, Any] = {"model": model, "max_tokens": _MAX_TOKENS, "messages": new}
        about = {"system": system, "tools": [tool_of(tool) for tool in self.recording.tools]}
        match self.way:
            case "continue" if self.previous:
                wanted |= {"thread": {"type": "continue", "previous_message_id": self.previous}}
            case "continue":
                wanted |= about | {"thread": {"type": "create"}}
            case "header" if self.thread_id:
                wanted |= about
                headers["X-Thread-Id"] = self.thread_id
            case "whole" if self.thread_id:
                wanted |= about | {"messages": self.history}
                headers["X-Thread-Id"] = self.thread_id
            case _:
                wanted |= about | {"messages": self.history}
        messages: Any = self.client.messages
        if self.way == "continue":
            messages, wanted["betas"] = self.client.beta.messages, ["message-threads-2026-08-12"]
        wanted["extra_headers"] = headers
        return await insist(lambda: self._streamed(messages, wanted) if self.stream else self._whole(messages, wanted))

    async def _whole(self, messages: Any, wanted: dict[str, Any]) -> Any:
        response = await messages.with_raw_response.create(**wanted)
        self._note(response.headers)
        return await response.parse()

    async def _streamed(self, messages: Any, wanted: dict[str, Any]) -> Any:
        async with messages.stream(**wanted) as stream:
            self._note(stream.response.headers)
            pieces = "".join([piece async for piece in stream.text_stream])
            final = await stream.get_final_message()
        if final.stop_reason is None:
            raise httpx2.ReadError("the stream has no end")
        assert pieces == "".join(block.text for block in final.content if block.type == "text"), self.talk.key
        return final

    def _note(self, headers: Any) -> None:
        thread_id = headers["x-thread-id"]
        assert self.thread_id in ("", thread_id), f"{self.talk.key}: {thread_id} is not {self.thread_id}"
        self.thread_id = thread_id

    async def check(self) -> None:
        """Everything is in the thread once, in order."""
        found: list[Any] = []
        async for message in self._kept():
            text = ""
            for block in message["content"]:
                match block["type"]:
                    case "tool_use":
                        found += [text] if text else []
                        text = ""
                        found.append((block["id"], block["name"], block["input"]))
                    case "tool_result":
                        found.append((block["tool_use_id"], "".join(part["text"] for part in block["content"])))
                    case "text":
                        text += block["text"]
                    case _:
                        continue
            found += [text] if text else []
        expected: list[Any] = []
        for said in self.talk.messages:
            if said["role"] == "tool":
                expected.append((said["tool_call_id"], said["content"]))
                continue
            expected += [said["content"]] if said["content"] else []
            expected += calls_of(said)
            self.calls += len(calls_of(said))
        if self.talk.messages[-1]["role"] == "user":
            expected.pop()
        assert found == expected, f"{self.talk.key}: {len(found)} blocks, {len(expected)} recorded"

    async def _kept(self) -> Any:
        page: str | None = None
        while True:
            options = {"params": {"limit": 100, **({"page": page} if page else {})}}
            path = f"/v1/threads/{self.thread_id}/messages"
            listed: Any = await insist(partial(self.client.get, path, cast_to=object, options=options))
            for message in listed["data"]:
                yield message
            page = listed["next_page"]
            if page is None:
                return


def calls_of(message: dict[str, Any]) -> list[tuple[str, str, Any]]:
    return [
        (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
        for call in message.get("tool_calls") or ()
    ]


def tool_of(tool: dict[str, Any]) -> dict[str, Any]:
    """A tool of the recording, in Anthropic's words."""
    made = dict(tool["function"])
    return {"input_schema": made.pop("parameters"), **made}


async def insist(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Ask until there is an answer: the server may be away. With a key, asking twice does it once."""
    end = time.monotonic() + _GIVE_UP_SECONDS
    while True:
        try:
            return await ask()
        except anthropic.APIStatusError as error:
            if _is_final(error):
                raise Ended(str(error)) from error
            if time.monotonic() > end:
                raise
        except (anthropic.APIConnectionError, httpx2.HTTPError):
            if time.monotonic() > end:
                raise
        await asyncio.sleep(0.1)


def _is_final(error: anthropic.APIStatusError) -> bool:
    """Whether asking again is of no use: the server says so, before a stream in a header, in it with words."""
    if error.status_code == 200:
        return "is being asked again" not in str(error) and "is leaving" not in str(error)
    assert error.status_code != 404, error
    return error.response.headers.get("x-should-retry") == "false" or error.status_code == 400


async def threads_of(client: AsyncAnthropic) -> set[str]:
    found: set[str] = set()
    page = None
    while True:
        query = {"limit": 100, **({"page": page} if page else {})}
        listed: Any = await client.get("/v1/threads", cast_to=object, options={"params": query})
        found.update(thread["id"] for thread in listed["data"])
        page = listed["next_page"]
        if page is None:
            return found


async def ways_of(server: str, threads: Sequence[str]) -> dict[str, int]:
    """By what the log says that requests were recognised."""
    found: Counter[str] = Counter()
    async with httpx2.AsyncClient(timeout=60) as http:
        for thread_id in threads:
            for event in await events_of(http, server, thread_id):
                if event["kind"] in ("run.queued", "run.reconfigured"):
                    found[str(event["data"].get("matched_by"))] += 1
    return dict(found)


def a_client(server: Server) -> AsyncAnthropic:
    """In its strict mode, and without retries of its own."""
    return AsyncAnthropic(
        base_url=f"{server.url}/anthropic",
        api_key="key-of-nobody",
        max_retries=0,
        timeout=60.0,
        _strict_response_validation=True,
    )


async def hold(
    urls: dict[str, str],
    fleet: Fleet,
    *,
    ways: Sequence[str],
    stream: bool,
    count: int,
    at_once: int,
    kill_every: float = 0,
) -> dict[str, Any]:
    """Hold the first `count` conversations, `at_once` at a time; raises `AssertionError` at the first difference."""
    recording = load()
    gate = asyncio.Semaphore(at_once)
    killed: Counter[str] = Counter()
    providers = [PROVIDERS[name] for name in urls]
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(a_client(server)) for server in fleet.servers]
        players = [
            Player(
                clients[number % len(clients)],
                recording,
                made_by_call(talk, providers),
                providers,
                ways[number % len(ways)],
                stream,
            )
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
        assert await insist(lambda: threads_of(clients[0])) == set(threads), "each conversation is one thread"
        proven = await compare_prompts(list(urls.values()), fleet.url(0), threads)
        asked = await compare_calls(list(urls.values()), fleet.url(0), threads)
    return {
        "conversations": len(players),
        "ended_open": sum(player.talk.ends_open for player in players),
        "requests": sum(player.requests for player in players),
        "tool_calls": sum(player.calls for player in players),
        "streamed": stream,
        "recognised_by": await ways_of(fleet.url(0), threads),
        "kills": dict(killed),
        **asked,
        **proven,
    }


@dataclass
class Rig:
    """The providers' side and Clew's, for as long as it is open."""

    folder: Path
    providers: Sequence[str] = ("anthropic",)
    faults: tuple[str, ...] = ()
    thinks: bool = False
    database: str | None = None
    days: int = 0
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> tuple[dict[str, str], Fleet]:
        chosen = [PROVIDERS[name] for name in self.providers]
        urls = self._stack.enter_context(upstreams(chosen, *self.faults, thinks=self.thinks))
        environment = environment_for(urls)
        if self.database is not None:
            fleet = a_fleet(self.database, 2, 2, 2.0, environment)
        else:
            fleet = Fleet([Server(self.folder / "talks.db", environment=environment, days=self.days)])
        return urls, self._stack.enter_context(fleet)

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--providers", nargs="+", choices=list(PROVIDERS), default=["anthropic"])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=10)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--think", action="store_true")
    parser.add_argument("--fail-every", type=int, default=0)
    parser.add_argument("--cut-stream-every", type=int, default=0)
    parser.add_argument("--kill-every", type=float, default=0, help="seconds between kills of the server")
    parser.add_argument("--fleet", action="store_true", help="two servers and two workers on a PostgreSQL of our own")
    options = parser.parse_args()
    faults = ("--fail-every", str(options.fail_every), "--cut-stream-every", str(options.cut_stream_every))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = stack.enter_context(Postgres()).create_database("talks") if options.fleet else None
        urls, fleet = stack.enter_context(Rig(folder, options.providers, faults, options.think, database))
        found = asyncio.run(
            hold(
                urls,
                fleet,
                ways=options.ways,
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
