"""Real agent conversations through every official SDK in turn, each model call on another provider.

    python -m tests.rigs.every_dialect                      all 100, OpenAI's, Mistral's and Anthropic's SDK in rotation
    python -m tests.rigs.every_dialect --stream --think     streamed, by models that think
    python -m tests.rigs.every_dialect --each-step          no two model calls after each other by one provider
    python -m tests.rigs.every_dialect --count 9 --fail-every 7

The first turn is one SDK's, the next another's; calls that wait are answered by yet another. Each begins every third
conversation. A run is of one provider in two of the APIs, until Anthropic's SDK answers calls: there every request
says which model goes on, so with `--each-step` it answers all of them. It prints one JSON object. Every text, tool
name and argument must come as recorded and be read back so by each SDK, now and as of a point in the middle; every
request must be one that its provider takes, and every prompt, rendered again from the log, must be one that a
provider received, and no other.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.rigs import valid_anthropic, valid_mistral, valid_openai
from tests.rigs.commands import verified
from tests.rigs.mistral_talks import Ended, Said
from tests.rigs.processes import Fleet, Server
from tests.rigs.prompts import compare_prompts, events_of
from tests.rigs.switching import PROVIDERS, Provider, environment_for, upstreams
from tests.rigs.talks import load
from tests.rigs.voices import AnthropicVoice, Called, Sdks, Shared, Text, Voice

_TIMEOUT_SECONDS = 120


@dataclass
class Player:
    """One conversation. `order` is whose turn it is, one after the other; so are the providers' steps."""

    shared: Shared
    order: Sequence[Voice]
    providers: Sequence[Provider]
    provider: Provider
    each_step: bool = False
    texts: list[Text] = field(default_factory=list)
    calls: list[Called] = field(default_factory=list)
    steps: Counter[str] = field(default_factory=Counter)
    switches: int = 0
    # How much had been said after some turn, and the version of the thread then.
    marked: tuple[int, int, int] | None = None

    async def play(self, http: httpx2.AsyncClient, server: str) -> None:
        messages, place, turn = self.shared.talk.messages, 0, 0
        while place < len(messages) - 1:
            voice = self.order[turn % len(self.order)]
            self._next_provider(may_choose=True)
            self.texts.append(("user", messages[place]["content"]))
            place = await self._turn(voice.say(messages[place]["content"], self.provider, place), place + 1, turn)
            turn += 1
            if turn == 2 and place < len(messages):
                events = await events_of(http, server, f"thread_{self.shared.thread}")
                self.marked = (len(self.texts), len(self.calls), events[-1]["position"])

    def _next_provider(self, *, may_choose: bool) -> None:
        wanted = self.providers[sum(self.steps.values()) % len(self.providers)]
        if may_choose:
            self.switches += wanted is not self.provider and bool(self.steps)
            self.provider = wanted

    async def _turn(self, asked: Awaitable[Said], place: int, turn: int) -> int:
        """From what the user said to the model's last word; gives the place of what the user says next."""
        messages, answered = self.shared.talk.messages, 0
        while True:
            try:
                said = await asked
            except Ended:
                assert place == len(messages), f"{self.shared.talk.key}: an error at {place}"
                return place
            assert place < len(messages), f"{self.shared.talk.key}: an answer after the recording's end"
            self._heard(said, place)
            place += 1
            if not said.calls:
                return place
            results = [(id, messages[place + at]["content"]) for at, (id, _, _) in enumerate(said.calls)]
            for id, output in results:
                at = next(at for at, call in enumerate(self.calls) if call[0] == id and call[3] is None)
                self.calls[at] = (*self.calls[at][:3], output)
            place += len(results)
            answered += 1
            who = [voice for voice in self.order if voice.chooses or not self.each_step]
            voice = who[(turn + answered) % len(who)]
            self._next_provider(may_choose=voice.chooses)
            asked = voice.answer(results, self.provider, place)

    def _heard(self, said: Said, place: int) -> None:
        """It must be what was recorded, the calls under the ids that the provider gives them."""
        expected = self.shared.talk.messages[place]
        where = f"{self.shared.talk.key} at {place}, by {self.provider.name}"
        self.steps[self.provider.name] += 1
        if expected["content"]:
            assert said.text == expected["content"], f"{where}: {said.text!r}"
            self.texts.append(("assistant", expected["content"]))
        recorded: list[Called] = []
        for call in expected.get("tool_calls") or ():
            id, of = self.provider.call_id(call["id"], place), call["function"]
            recorded.append((id, of["name"], json.loads(of["arguments"]), None))
        found = [(id, name, json.loads(arguments), None) for id, name, arguments in said.calls]
        assert found == recorded, f"{where}: {found} is not {recorded}"
        self.calls += recorded

    async def check(self, sdks: Sdks, past: Sdks | None) -> None:
        """Everything is there once, in order, whoever reads it; and up to the mark, as it was then."""
        for name, voice in sdks.voices(self.shared).items():
            texts, calls = await voice.read()
            assert texts == self.texts, f"{self.shared.talk.key}, read by {name}: {len(texts)} of {len(self.texts)}"
            assert calls == self.calls, f"{self.shared.talk.key}, read by {name}: {calls} is not {self.calls}"
        if past is None or self.marked is None:
            return
        for name, voice in past.voices(self.shared).items():
            texts, calls = await voice.read()
            upto = self.texts[: self.marked[0]], self.calls[: self.marked[1]]
            assert (texts, calls) == upto, f"{self.shared.talk.key} in the past, read by {name}"


@dataclass
class Looking:
    """What is wrong with the requests that providers received."""

    requests: Counter[str] = field(default_factory=Counter)
    invalid: list[str] = field(default_factory=list)

    def look(self, prompt: dict[str, Any]) -> None:
        body, format = json.loads(prompt["body"]), prompt["renderer"].partition("/")[0]
        self.requests[format] += 1
        match format:
            case "anthropic-messages":
                binds = body.get("thinking", {}).get("block_binding")
                fault: Any = valid_anthropic.fault_of(body, "of its own" if binds else "")
                fault = fault or valid_anthropic.thinking_fault_of(body)
            case "mistral-chat":
                fault = valid_mistral.fault_of(body)
            case _:
                fault = valid_openai.fault_of(body)
        if fault is not None:
            self.invalid.append(f"{prompt['run_id']}: {fault}")


async def hold(
    urls: dict[str, str],
    server: str,
    *,
    numbers: Sequence[int],
    at_once: int,
    stream: bool = False,
    each_step: bool = False,
) -> dict[str, Any]:
    """Hold the conversations of these numbers, `at_once` at a time; raises `AssertionError` at the first difference."""
    recording, gate = load(), asyncio.Semaphore(at_once)
    providers = [PROVIDERS[name] for name in urls]
    players: list[Player] = []
    async with httpx2.AsyncClient(timeout=_TIMEOUT_SECONDS) as http:
        with httpx2.Client() as never_used:
            sdks = Sdks(server, http, never_used)

            async def one(number: int) -> None:
                async with gate:
                    shared = await sdks.assistant(recording, recording.talks[number])
                    voices = list(sdks.voices(shared, stream=stream).values())
                    first = number % len(voices)
                    order = [*voices[first:], *voices[:first]]
                    player = Player(shared, order, providers, providers[0], each_step)
                    players.append(player)
                    await player.play(http, server)
                    mark = player.marked
                    past = Sdks(f"{server}/at/{mark[2]}", http, never_used) if mark is not None else None
                    await player.check(sdks, past)

            await asyncio.gather(*map(one, numbers))
        return await _found(http, urls, server, players, stream=stream)


async def _found(
    http: httpx2.AsyncClient, urls: dict[str, str], server: str, players: list[Player], *, stream: bool
) -> dict[str, Any]:
    steps: Counter[str] = Counter()
    ways: Counter[str] = Counter()
    requests: Counter[str] = Counter()
    not_sent: Counter[str] = Counter()
    threads = [f"thread_{player.shared.thread}" for player in players]
    for player in players:
        steps.update(player.steps)
        for voice in player.order:
            if isinstance(voice, AnthropicVoice):
                ways.update(voice.ways)
    for thread in threads:
        for event in await events_of(http, server, thread):
            if event["kind"] == "context.assembled":
                for missing in event["data"]["manifest"].get("not_rendered", ()):
                    not_sent[f"{missing['what']}: {missing['reason']}"] += 1
            if event["kind"] in ("run.queued", "tool.returned"):
                requests[event["actor"]] += 1
    looking = Looking()
    found: dict[str, Any] = {
        "conversations": len(players),
        "ended_open": sum(player.shared.talk.ends_open for player in players),
        "streamed": stream,
        "runs_begun_and_calls_answered_by": dict(requests),
        "anthropic_found_threads_by": dict(ways),
        "steps_by_provider": dict(steps),
        "switches_of_provider": sum(player.switches for player in players),
        "calls": sum(len(player.calls) for player in players),
        "read_back_in_the_past": sum(player.marked is not None for player in players),
        "told_as_not_sent": dict(not_sent),
    }
    found |= await compare_prompts(list(urls.values()), server, threads, looking.look)
    found["requests_looked_at"], found["invalid"] = dict(looking.requests), looking.invalid
    for name, url in urls.items():
        calls = (await http.get(f"{url}/calls")).json()
        found[name] = {key: calls[key] for key in ("calls", "failed")} | {"invalid": calls.get("invalid", [])}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--providers", nargs="+", choices=list(PROVIDERS), default=list(PROVIDERS))
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=6)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--think", action="store_true")
    parser.add_argument("--each-step", action="store_true")
    parser.add_argument("--fail-every", type=int, default=0)
    parser.add_argument("--verify", action="store_true", help="replay all runs with today's engine and compare")
    options = parser.parse_args()
    # The SDKs mark what they want to be rid of, which is why Clew is here.
    warnings.simplefilter("ignore", DeprecationWarning)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        providers = [PROVIDERS[name] for name in options.providers]
        faults = ("--fail-every", str(options.fail_every))
        urls = stack.enter_context(upstreams(providers, *faults, thinks=options.think))
        server = Server(folder / "threads.db", environment=environment_for(urls))
        fleet = stack.enter_context(Fleet([server]))
        found = asyncio.run(
            hold(
                urls,
                fleet.url(0),
                numbers=range(min(options.count, 100)),
                at_once=options.at_once,
                stream=options.stream,
                each_step=options.each_step,
            )
        )
        if options.verify:
            found["verified"] = verified(server.store)
    json.dump(found, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
