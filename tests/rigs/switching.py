"""Real agent conversations on several providers at once: each turn, or each step, on another one.

    python -m tests.rigs.switching                                  all 100, the turns by OpenAI, Anthropic and Mistral
    python -m tests.rigs.switching --each step                      each model call by another, in a fork of the thread
    python -m tests.rigs.switching --providers anthropic --think --stream --fail-every 7 --cut-stream-every 11

It prints one JSON object. Every text, tool name and argument must come as recorded, every request must be one that
its provider takes, and every prompt, rendered again from the log, must be one that a provider received, and no other.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import copy
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2
from openai import AsyncOpenAI

from tests.rigs import upstream_anthropic, upstream_mistral
from tests.rigs.processes import Fleet, Server, upstream
from tests.rigs.prompts import compare_prompts
from tests.rigs.talks import Player, Recording, Talk, load


@dataclass(frozen=True)
class Provider:
    """`call_id` is under which id it makes a call that was recorded under another, in the message at some place."""

    name: str
    model: str
    module: str | None = None
    suffix: str = ""
    call_id: Callable[[str, int], str] = lambda recorded, place: recorded


PROVIDERS = {
    "openai": Provider("openai", "openai/gpt-4o", suffix="/v1"),
    "anthropic": Provider(
        "anthropic", "anthropic/claude-opus-5-5", "tests.rigs.upstream_anthropic", "", upstream_anthropic.call_id
    ),
    "mistral": Provider(
        "mistral", "mistral/mistral-large-4", "tests.rigs.upstream_mistral", "", upstream_mistral.call_id
    ),
}


@contextlib.contextmanager
def upstreams(providers: Sequence[Provider], *options: str, thinks: bool = False) -> Iterator[dict[str, str]]:
    """All of them, by name, with their base URLs. The one that speaks OpenAI's format cannot think."""
    with contextlib.ExitStack() as stack:
        found = {}
        for provider in providers:
            more = ["--think"] if thinks and provider.module is not None else []
            found[provider.name] = stack.enter_context(upstream(*options, *more, module=provider.module))
        yield found


def environment_for(urls: dict[str, str]) -> dict[str, str]:
    found = {}
    for name, url in urls.items():
        found[f"CLEW_{name.upper()}_BASE_URL"] = url + PROVIDERS[name].suffix
        found[f"CLEW_{name.upper()}_API_KEY"] = "sk-of-nobody"
    return found


@dataclass
class EachTurn(Player):
    """Each run on another provider: the assistant gets another model before it."""

    providers: Sequence[Provider] = ()
    turns: int = 0

    async def _turn(self, assistant_id: str, place: int) -> int:
        provider = self.providers[self.turns % len(self.providers)]
        self.turns += 1
        await self._insist(
            "",
            lambda headers: self.client.beta.assistants.update(
                assistant_id, model=provider.model, extra_headers=headers
            ),
        )
        return await super()._turn(assistant_id, place)


def as_made_by(talk: Talk, providers: Sequence[Provider]) -> Talk:
    """The recording, its calls under the ids that the provider of each turn gives them."""
    messages, turn, ids = copy.deepcopy(talk.messages), -1, {}
    for place, message in enumerate(messages):
        turn += message["role"] == "user"
        for call in message.get("tool_calls") or ():
            ids[call["id"]] = providers[turn % len(providers)].call_id(call["id"], place)
            call["id"] = ids[call["id"]]
        if message["role"] == "tool":
            message["tool_call_id"] = ids[message["tool_call_id"]]
    return Talk(talk.key, messages)


def made_by_call(talk: Talk, providers: Sequence[Provider]) -> Talk:
    """The same where each model call is by another provider."""
    messages, calls, ids = copy.deepcopy(talk.messages), 0, {}
    for place, message in enumerate(messages):
        for call in message.get("tool_calls") or ():
            ids[call["id"]] = providers[calls % len(providers)].call_id(call["id"], place)
            call["id"] = ids[call["id"]]
        calls += message["role"] == "assistant"
        if message["role"] == "tool":
            message["tool_call_id"] = ids[message["tool_call_id"]]
    return Talk(talk.key, messages)


def calls_are_told_apart(talk: Talk) -> bool:
    """A fork names a call by its id, and some of the recorded ids come again."""
    ids = [call["id"] for message in talk.messages for call in message.get("tool_calls") or ()]
    return len(set(ids)) == len(ids)


@dataclass
class EachStep:
    """Each model call on another provider: where the model wants a tool, its thread is forked with the result in it."""

    client: AsyncOpenAI
    http: httpx2.AsyncClient
    recording: Recording
    talk: Talk
    providers: Sequence[Provider]
    threads: list[str] = field(default_factory=list)
    steps: int = 0

    async def play(self) -> None:
        made = await self.client.beta.assistants.create(
            model=self.recording.model,
            instructions=f"{self.recording.system}\nconversation: {self.talk.key}",
            tools=self.recording.tools,  # type: ignore[arg-type]
        )
        self.threads.append((await self.client.beta.threads.create()).id)
        place = 0
        while place < len(self.talk.messages) - 1:
            said = self.talk.messages[place]
            if said["role"] == "user":
                await self.client.beta.threads.messages.create(self.threads[-1], role="user", content=said["content"])
            place = await self._step(made.id, place + 1)

    async def _step(self, assistant_id: str, place: int) -> int:
        """The model call that gives the message at `place`; gives the place of what it is answered with."""
        provider = self.providers[self.steps % len(self.providers)]
        self.steps += 1
        run = await self.client.beta.threads.runs.create_and_poll(
            thread_id=self.threads[-1], assistant_id=assistant_id, model=provider.model, poll_interval_ms=20
        )
        expected = self.talk.messages[place]
        where = f"{self.talk.key} at {place}, by {provider.name}"
        if not expected.get("tool_calls"):
            assert run.status == "completed", f"{where}: {run.status} {run.last_error}"
            page = await self.client.beta.threads.messages.list(self.threads[-1], limit=1)
            said = "".join(part.text.value for part in page.data[0].content if part.type == "text")
            assert said == expected["content"], f"{where}: {said!r}"
            return place + 1
        assert run.status == "requires_action", f"{where}: {run.status} {run.last_error}"
        asked = run.required_action.submit_tool_outputs.tool_calls  # type: ignore[union-attr]
        recorded = expected["tool_calls"]
        assert [(call.id, call.function.name, call.function.arguments) for call in asked] == [
            (provider.call_id(call["id"], place), call["function"]["name"], call["function"]["arguments"])
            for call in recorded
        ], where
        answers = self.talk.messages[place + 1 : place + 1 + len(recorded)]
        await self._fork([(call.id, answer["content"]) for call, answer in zip(asked, answers, strict=True)])
        return place + len(recorded)

    async def _fork(self, results: list[tuple[str, str]]) -> None:
        edits = [{"kind": "answer", "tool_call_id": id, "output": output} for id, output in results]
        forked = await self.http.post(f"/clew/v1/threads/{self.threads[-1]}/fork", json={"edits": edits})
        assert forked.is_success, forked.text
        self.threads.append(forked.json()["thread_id"])


async def hold(
    urls: dict[str, str], fleet: Fleet, *, each: str, stream: bool, count: int, at_once: int
) -> dict[str, Any]:
    """Hold the first `count` conversations, `at_once` at a time; raises `AssertionError` at the first difference."""
    providers, gate = [PROVIDERS[name] for name in urls], asyncio.Semaphore(at_once)
    recording = replace(load(), model=providers[0].model)
    server = fleet.url(0)
    async with (
        AsyncOpenAI(base_url=f"{server}/v1", api_key="x", max_retries=0, timeout=60) as client,
        httpx2.AsyncClient(base_url=server, timeout=60) as http,
    ):
        players: list[EachTurn] | list[EachStep]
        talks = [talk for talk in recording.talks if each == "turn" or calls_are_told_apart(talk)][:count]
        if each == "turn":
            players = [
                EachTurn(client, recording, as_made_by(talk, providers), stream, providers=providers) for talk in talks
            ]
        else:
            players = [EachStep(client, http, recording, talk, providers) for talk in talks]

        async def one(player: EachTurn | EachStep) -> None:
            async with gate:
                await player.play()

        await asyncio.gather(*map(one, players))
        threads = []
        for player in players:
            if isinstance(player, EachTurn):
                await player.check()
                threads.append(player.thread_id)
            else:
                threads += player.threads
        found: dict[str, Any] = {"conversations": len(players), "threads": len(threads), "streamed": stream}
        found |= await compare_prompts(list(urls.values()), server, threads)
        for name, url in urls.items():
            calls = (await http.get(f"{url}/calls")).json()
            found[name] = {key: calls[key] for key in ("calls", "failed", "cut")}
            found[name]["invalid"] = calls.get("invalid", [])
            if "usages" in calls:
                found[name]["usages"] = calls["usages"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--providers", nargs="+", choices=list(PROVIDERS), default=list(PROVIDERS))
    parser.add_argument("--each", choices=["turn", "step"], default="turn")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=10)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--think", action="store_true")
    parser.add_argument("--fail-every", type=int, default=0)
    parser.add_argument("--cut-stream-every", type=int, default=0)
    options = parser.parse_args()
    # The SDK marks all of the Assistants API as deprecated, which is why Clew is here.
    warnings.simplefilter("ignore", DeprecationWarning)
    faults = ["--fail-every", str(options.fail_every), "--cut-stream-every", str(options.cut_stream_every)]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        providers = [PROVIDERS[name] for name in options.providers]
        urls = stack.enter_context(upstreams(providers, *faults, thinks=options.think))
        fleet = stack.enter_context(Fleet([Server(folder / "threads.db", environment=environment_for(urls))]))
        found = asyncio.run(
            hold(
                urls,
                fleet,
                each=options.each,
                stream=options.stream,
                count=options.count,
                at_once=options.at_once,
            )
        )
    for name in urls:
        found[name].pop("usages", None)
    json.dump(found, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
