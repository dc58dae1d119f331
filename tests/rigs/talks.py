"""Real agent conversations, held through the official SDK: a client plays user and tools from the recordings.

    python -m tests.rigs.talks                             all 100, one run after the other, polled
    python -m tests.rigs.talks --stream --fail-every 7 --cut-stream-every 11
    python -m tests.rigs.talks --prompts                   and every prompt is rendered again and compared
    python -m tests.rigs.talks --kill-every 3 --count 20   the server is killed every 3 seconds
    python -m tests.rigs.talks --servers 2 --workers 3 --kill-every 2   on PostgreSQL, any one of them is killed

It prints one JSON object. Every text, tool name and argument must come as recorded; a recording that ends with a
tool's result must end with a failed run, because the provider has no more. Afterwards the log is compared with
what the provider was asked, and the bill with what it says it has billed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import json
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import openai
from openai import AsyncOpenAI

from tests.rigs.attempts import compare_calls
from tests.rigs.bills import compare_bills
from tests.rigs.commands import verified
from tests.rigs.killing import kill_again_and_again
from tests.rigs.postgres import Postgres
from tests.rigs.processes import RECORDING, Fleet, Server, a_fleet, upstream
from tests.rigs.prompts import compare_prompts
from tests.rigs.witness import Witness, look_back

T = TypeVar("T")
_GIVE_UP_SECONDS = 60.0
_ACTIVE = ("queued", "in_progress", "cancelling")


@dataclass(frozen=True)
class Talk:
    key: str
    messages: list[dict[str, Any]]

    @property
    def ends_open(self) -> bool:
        """The recording stops after a tool's result: the provider has no answer to it."""
        return bool(self.messages[-1]["role"] == "tool")


@dataclass(frozen=True)
class Recording:
    system: str
    model: str
    tools: list[dict[str, Any]]
    talks: list[Talk]


def load() -> Recording:
    lines = gzip.decompress(RECORDING.read_bytes()).decode().splitlines()
    head = json.loads(lines[0])
    talks = [Talk(f"{talk['task_id']}-{talk['trial']}", talk["messages"]) for talk in map(json.loads, lines[1:])]
    return Recording(head["system"], head["model"], head["tools"], talks)


@dataclass
class Player:
    """One conversation. Every request that creates something carries a key, so that it can be sent again."""

    client: AsyncOpenAI
    recording: Recording
    talk: Talk
    stream: bool
    thread_id: str = ""
    run_ids: list[str] = field(default_factory=list)
    steps: int = 0

    async def play(self) -> None:
        made = await self._insist(
            "assistant",
            lambda headers: self.client.beta.assistants.create(
                model=self.recording.model,
                instructions=f"{self.recording.system}\nconversation: {self.talk.key}",
                tools=self.recording.tools,  # type: ignore[arg-type]
                extra_headers=headers,
            ),
        )
        thread = await self._insist("thread", lambda headers: self.client.beta.threads.create(extra_headers=headers))
        self.thread_id = thread.id
        place = 0
        while place < len(self.talk.messages):
            said = self.talk.messages[place]
            if said["role"] != "user":
                raise AssertionError(f"{self.talk.key}: message {place} is not the user's")
            if place == len(self.talk.messages) - 1:
                return  # The recording ends with the user; nobody answers.
            await self._insist(
                f"message {place}",
                partial(self._say, said["content"]),
            )
            place = await self._turn(made.id, place + 1)

    def _say(self, text: str, headers: dict[str, str]) -> Awaitable[object]:
        return self.client.beta.threads.messages.create(
            self.thread_id, role="user", content=text, extra_headers=headers
        )

    async def _turn(self, assistant_id: str, place: int) -> int:
        """One run, from the user's message to the model's last word; gives the place of the next user message."""
        run = await self.start(assistant_id, place)
        self.run_ids.append(run.id)
        while True:
            run = await self.settled(run)
            expected = self.talk.messages[place] if place < len(self.talk.messages) else None
            if expected is None:
                assert run.status == "failed", f"{self.talk.key}: {run.status} after the recording's end"
                assert run.last_error is not None
                return place
            assert expected["role"] == "assistant"
            if not expected.get("tool_calls"):
                assert run.status == "completed", f"{self.talk.key} at {place}: {run.status} {run.last_error}"
                await self._check_newest(expected["content"])
                return place + 1
            assert run.status == "requires_action", f"{self.talk.key} at {place}: {run.status} {run.last_error}"
            run, place = await self._answer_tools(run, expected, place)

    async def _answer_tools(self, run: Any, expected: dict[str, Any], place: int) -> tuple[Any, int]:
        asked = [
            (call.id, call.function.name, call.function.arguments)
            for call in run.required_action.submit_tool_outputs.tool_calls
        ]
        recorded = [
            (call["id"], call["function"]["name"], call["function"]["arguments"]) for call in expected["tool_calls"]
        ]
        assert asked == recorded, f"{self.talk.key} at {place}: {asked} is not {recorded}"
        if expected["content"]:
            await self._check_newest(expected["content"])
        outputs = []
        for call in recorded:
            place += 1
            answer = self.talk.messages[place]
            assert answer["role"] == "tool"
            outputs.append({"tool_call_id": call[0], "output": answer["content"]})
        submitted = await self._insist(
            f"outputs {place}",
            lambda headers: self.client.beta.threads.runs.submit_tool_outputs(
                run.id,
                thread_id=self.thread_id,
                tool_outputs=outputs,  # type: ignore[arg-type]
                extra_headers=headers,
            ),
        )
        return submitted, place + 1

    async def start(self, assistant_id: str, place: int) -> Any:
        if not self.stream:
            return await self._insist(
                f"run {place}",
                lambda headers: self.client.beta.threads.runs.create(
                    self.thread_id, assistant_id=assistant_id, extra_headers=headers
                ),
            )
        return await self._insist(f"run {place}", lambda headers: self._streamed(assistant_id, headers))

    async def _streamed(self, assistant_id: str, headers: dict[str, str]) -> Any:
        """The run as its stream last showed it. A stream that breaks leaves the run; it is polled from there."""
        run = None
        events = await self.client.beta.threads.runs.create(
            self.thread_id, assistant_id=assistant_id, stream=True, extra_headers=headers
        )
        try:
            async for event in events:
                if event.event.startswith("thread.run.") and ".step" not in event.event:
                    run = event.data
        except (openai.APIError, httpx2.HTTPError):
            if run is None:
                raise
        assert run is not None, "a stream begins with its run"
        return run

    async def settled(self, run: Any) -> Any:
        end = time.monotonic() + _GIVE_UP_SECONDS
        while run.status in _ACTIVE:
            assert time.monotonic() < end, f"{self.talk.key}: run {run.id} is {run.status} for ever"
            await asyncio.sleep(0.02)
            run = await self._insist(
                "",
                partial(self._look, run.id),
            )
        return run

    def _look(self, run_id: str, headers: dict[str, str]) -> Awaitable[Any]:
        return self.client.beta.threads.runs.retrieve(
            run_id, thread_id=self.thread_id, extra_headers={"X-Stainless-Poll-Helper": "true"}
        )

    async def _check_newest(self, content: str) -> None:
        page = await self._insist("", lambda headers: self.client.beta.threads.messages.list(self.thread_id, limit=1))
        said = text_of(page.data[0])
        assert said == content, f"{self.talk.key}: {said!r} is not {content!r}"

    async def _insist(self, key: str, ask: Callable[[dict[str, str]], Awaitable[T]]) -> T:
        """Ask until there is an answer: the server may be away. With a key, asking twice does it once."""
        headers = {"Idempotency-Key": f"{self.talk.key} {key}"} if key else {}
        end = time.monotonic() + _GIVE_UP_SECONDS
        while True:
            try:
                return await ask(headers)
            except (openai.APIConnectionError, openai.InternalServerError, httpx2.HTTPError):
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(0.1)

    async def check(self) -> None:
        """Everything that was said is there once, in order; every call was asked for once."""
        expected = [m["content"] for m in self.talk.messages if m["role"] in ("user", "assistant") and m["content"]]
        if self.talk.messages[-1]["role"] == "user":
            expected.pop()
        said = await self._insist("", lambda _: self._said())  # A connection may have died with its server.
        assert said == expected, f"{self.talk.key}: {len(said)} messages, {len(expected)} recorded"
        asked = await self._insist("", lambda _: self._asked())
        recorded = Counter(c["id"] for m in self.talk.messages for c in m.get("tool_calls") or ())
        assert asked == recorded, f"{self.talk.key}: {asked - recorded} too often, {recorded - asked} missing"
        self.steps = sum(recorded.values())

    async def _said(self) -> list[str]:
        messages = self.client.beta.threads.messages.list(self.thread_id, order="asc", limit=100)
        return [text_of(message) async for message in messages]

    async def _asked(self) -> Counter[str]:
        asked: Counter[str] = Counter()
        for run_id in self.run_ids:
            async for step in self.client.beta.threads.runs.steps.list(run_id, thread_id=self.thread_id, limit=100):
                if step.step_details.type == "tool_calls":
                    asked.update(call.id for call in step.step_details.tool_calls)
        return asked


def text_of(message: Any) -> str:
    return "".join(part.text.value for part in message.content if part.type == "text")


def a_client(server: Server, witness: Witness | None) -> AsyncOpenAI:
    return AsyncOpenAI(
        base_url=f"{server.url}/v1",
        api_key="x",
        max_retries=0,
        http_client=witness.listening() if witness is not None else None,
        _strict_response_validation=True,
    )


async def hold(
    url: str,
    fleet: Fleet,
    *,
    stream: bool,
    count: int,
    at_once: int,
    kill_every: float = 0,
    prompts: bool = False,
    witness: Witness | None = None,
) -> dict[str, Any]:
    """Hold the first `count` conversations, `at_once` at a time; raises `AssertionError` at the first difference.

    With `prompts`, every prompt is rendered again afterwards and compared with what the provider received.
    """
    recording = load()
    gate = asyncio.Semaphore(at_once)
    killed: Counter[str] = Counter()
    began = time.monotonic()
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(a_client(server, witness)) for server in fleet.servers]
        players = [
            Player(clients[number % len(clients)], recording, talk, stream)
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
        seconds = time.monotonic() - began
        for player in players:
            await player.check()
        threads = [player.thread_id for player in players]
        calls = await compare_calls(url, fleet.url(0), threads)
        calls |= await compare_bills(url, fleet.url(0), threads)
        if prompts:
            calls |= await compare_prompts(url, fleet.url(0), threads)
    return {
        "conversations": len(players),
        "ended_open": sum(player.talk.ends_open for player in players),
        "runs": sum(len(player.run_ids) for player in players),
        "tool_calls": sum(player.steps for player in players),
        "streamed": stream,
        "kills": dict(killed),
        "seconds": round(seconds, 2),
        **calls,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=10)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--fail-every", type=int, default=0)
    parser.add_argument("--cut-stream-every", type=int, default=0)
    parser.add_argument("--kill-every", type=float, default=0, help="seconds between kills of a process")
    parser.add_argument("--look-back", action="store_true", help="find all that was shown again, in the past")
    parser.add_argument("--prompts", action="store_true", help="render every prompt again and compare")
    parser.add_argument("--verify", action="store_true", help="replay all runs with today's engine and compare")
    parser.add_argument("--servers", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0, help="with any, the store is a PostgreSQL of our own")
    parser.add_argument("--lease-seconds", type=float, default=2)
    options = parser.parse_args()
    # The SDK marks all of the Assistants API as deprecated, which is why Clew is here.
    warnings.simplefilter("ignore", DeprecationWarning)
    faults = ["--fail-every", str(options.fail_every), "--cut-stream-every", str(options.cut_stream_every)]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(upstream(*faults))
        environment = {"CLEW_OPENAI_BASE_URL": f"{url}/v1"}
        if options.workers:
            database = stack.enter_context(Postgres()).create_database("talks")
            fleet = a_fleet(database, options.servers, options.workers, options.lease_seconds, environment)
        else:
            fleet = Fleet([Server(folder / "threads.db", environment=environment)])
        stack.enter_context(fleet)
        witness = Witness() if options.look_back else None
        found = asyncio.run(
            hold(
                url,
                fleet,
                stream=options.stream,
                count=options.count,
                at_once=options.at_once,
                kill_every=options.kill_every,
                witness=witness,
                prompts=options.prompts,
            )
        )
        if witness is not None:
            found |= look_back(witness, fleet.url(0))
        if options.verify:
            found["verified"] = verified(fleet.servers[0].store)
    json.dump(found, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
