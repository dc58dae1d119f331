"""What real providers send, through every official SDK: the answer comes whole and once, and the thread goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import httpx2
import pytest

from clew.providers.anthropic import Anthropic
from clew.providers.base import Provider
from clew.providers.mistral import Mistral
from clew.providers.openai import OpenAI
from tests.dialects.conftest import Server
from tests.dialects.tongues import TONGUES, Tongue
from tests.providers.kinds import ANTHROPIC, EVERY, MISTRAL, OPENAI, Kind, block, chunk, delta, ended, start, stopped
from tests.rigs.exact_upstream import Upstream, upstream
from tests.rigs.raw_server import Reply, reply, slow_stream

pytestmark = pytest.mark.slow

BOTH = [pytest.param(tongue, kind, id=f"{tongue} by {kind}") for tongue, kind in product(TONGUES, EVERY)]
SPOKEN = pytest.mark.parametrize(("tongue", "kind"), BOTH)


@dataclass
class Place:
    """A server of ours for each provider, and the provider behind it."""

    servers: dict[str, Server]
    upstreams: dict[str, Upstream]
    http: httpx2.Client

    def speak(self, tongue: str, kind: Kind) -> Tongue:
        return TONGUES[tongue](self.servers[kind.name].url, self.http)


def made(kind: Kind, url: str) -> Provider:
    classes: dict[str, Any] = {"openai": OpenAI, "mistral": Mistral, "anthropic": Anthropic}
    provider: Provider = classes[kind.name](base_url=f"{url}/v1", api_key="sk-of-nobody")
    return provider


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    stores: Path = tmp_path_factory.mktemp("stores")
    with (
        upstream() as openai,
        upstream() as mistral,
        upstream() as anthropic,
        Server(stores / "o.db", providers={"openai": made(OPENAI, openai.url)}) as one,
        Server(stores / "m.db", providers={"mistral": made(MISTRAL, mistral.url)}) as two,
        Server(stores / "a.db", providers={"anthropic": made(ANTHROPIC, anthropic.url)}) as three,
        httpx2.Client(timeout=30) as http,
    ):
        servers = {"openai": one, "mistral": two, "anthropic": three}
        yield Place(servers, {"openai": openai, "mistral": mistral, "anthropic": anthropic}, http)


def said(kind: Kind, *pieces: str, reason: str | None = None) -> Reply:
    """An answer in pieces, which ends so."""
    if kind is ANTHROPIC:
        deltas = [delta(0, "text", text=piece) for piece in pieces]
        return kind.streamed(start(), block(0, type="text", text=""), *deltas, *ended(reason or "end_turn"))
    return kind.streamed(*(chunk(content=piece) for piece in pieces), chunk(reason or "stop", content=""))


def calls(kind: Kind, name: str, arguments: str) -> Reply:
    if kind is ANTHROPIC:
        begun = block(0, type="tool_use", id="toolu_1", name=name, input={})
        cut = [delta(0, "input_json", partial_json=arguments[at : at + 5]) for at in range(0, len(arguments), 5)]
        return kind.streamed(start(), begun, *cut, stopped(0), *ended("tool_use"))
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}
    return kind.streamed(chunk(tool_calls=[call]), chunk("tool_calls"))


@SPOKEN
def test_an_answer_with_reasons_that_are_none_comes_whole(place: Place, tongue: str, kind: Kind) -> None:
    """Also where it breaks: the attempt has failed, and the next one is the answer."""
    if kind is ANTHROPIC:
        early = {"type": "message_delta", "delta": {"stop_reason": ""}, "usage": {}}
        first = [start(), block(0, type="text", text=""), delta(0, "text", text="Hel"), early]
        last = [delta(0, "text", text="lo"), stopped(0), *ended("end_turn")]
    else:
        first, last = [chunk("", content="Hel")], [chunk("", content="lo"), chunk("stop", content="")]
    slow = slow_stream(kind.events(*first), kind.events(*last) + kind.end_mark, pause_seconds=0.2)
    place.upstreams[kind.name].says(kind.cut(*first), slow)
    speaker = place.speak(tongue, kind)
    thread = speaker.begin("Hi", "m")
    assert speaker.read(thread) == [("user", "Hi"), ("assistant", "Hello")]


@SPOKEN
@pytest.mark.parametrize("how", ["error", "network_error", "an error in a 200 stream"])
def test_an_answer_that_failed_is_asked_for_again(place: Place, tongue: str, kind: Kind, how: str) -> None:
    failed = said(kind, "Half of", reason=how)
    if how not in ("error", "network_error"):
        failed = kind.streamed(*kind.begun, kind.error("Overloaded", "overloaded_error"))
    place.upstreams[kind.name].says(failed, said(kind, "Whole."))
    speaker = place.speak(tongue, kind)
    thread = speaker.begin("Hi", "m")
    assert speaker.read(thread) == [("user", "Hi"), ("assistant", "Whole.")]


@SPOKEN
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ('get_weather" path="…', "{}"),
        ("x" * 100, "{}"),
        ("get_weather", '{"city": "Par'),
        ("get_weather", ""),
        ("get weather", "Paris"),
    ],
    ids=["a name with more behind it", "a long name", "half an object", "no arguments", "no JSON"],
)
def test_a_call_that_no_provider_takes_back_is_kept_and_the_thread_goes_on(
    place: Place, tongue: str, kind: Kind, name: str, arguments: str
) -> None:
    behind = place.upstreams[kind.name]
    behind.refused.clear()
    behind.says(calls(kind, name, arguments), said(kind, "Sunny."), said(kind, "Still sunny."))
    speaker = place.speak(tongue, kind)
    thread = speaker.begin("How is the weather?", "m")
    [(_, called, written, output)] = speaker.calls(thread)
    assert (called, output) == (name, None)
    if tongue == "openai":
        # As the model wrote them. An object is what Anthropic's API wants.
        of = speaker.waits(thread).required_action.submit_tool_outputs.tool_calls[0].function  # type: ignore[attr-defined]
        assert of.arguments == (arguments or ("{}" if kind is ANTHROPIC else ""))
    assert written is not None
    assert speaker.answer(thread, ["Go on."]) == "Sunny."
    assert speaker.go_on(thread, "And now?") == "Still sunny."
    assert behind.refused == []


FACE, HIGH, LOW, LOST = "\N{GRINNING FACE}", "\ud83d", "\ude00", "\N{REPLACEMENT CHARACTER}"


def escaped(*chunks: Any) -> bytes:
    return b"".join(b"data: %s\n\n" % json.dumps(one).encode() for one in chunks)


@SPOKEN
def test_halves_of_characters_are_joined_or_replaced(place: Place, tongue: str, kind: Kind) -> None:
    pieces = ("Hi " + HIGH, LOW + "! " + HIGH)
    if kind is ANTHROPIC:
        deltas = [delta(0, "text", text=piece) for piece in pieces]
        data = escaped(start(), block(0, type="text", text=""), *deltas, stopped(0), *ended("end_turn"))
    else:
        data = escaped(*(chunk(content=piece) for piece in pieces), chunk("stop")) + kind.end_mark
    place.upstreams[kind.name].says(reply(data, content_type="text/event-stream"))
    speaker = place.speak(tongue, kind)
    thread = speaker.begin("Hi", "m")
    assert speaker.read(thread) == [("user", "Hi"), ("assistant", f"Hi {FACE}! {LOST}")]
    assert speaker.go_on(thread, "And?") == f"Hi {FACE}! {LOST}"


LARGE = '{"n": 1180591620717411303424, "d": 0.10, "e": 1E+400}'


@SPOKEN
def test_numbers_in_arguments_are_shown_and_sent_as_they_were_written(place: Place, tongue: str, kind: Kind) -> None:
    behind = place.upstreams[kind.name]
    behind.says(calls(kind, "get_weather", LARGE), said(kind, "So."))
    speaker = place.speak(tongue, kind)
    thread = speaker.begin("How is the weather?", "m")
    server, compact = place.servers[kind.name], LARGE.replace(" ", "")
    urls = {
        "openai": f"/openai/v1/threads/thread_{thread}/runs",
        "mistral": f"/mistral/v1/conversations/conv_{thread}/history",
        "anthropic": f"/anthropic/v1/threads/thread_{thread}/messages",
    }
    for url in (*urls.values(), f"/clew/v1/threads/thread_{thread}/events"):
        shown = place.http.get(f"{server.url}{url}").text.replace(" ", "").replace("\\", "")
        assert compact in shown, url
    assert speaker.answer(thread, ['{"n":18446744073709551616.50}']) == "So."
    sent = behind.bodies[-1].replace(b"\\", b"").replace(b" ", b"")
    assert compact.encode() in sent
    assert b"18446744073709551616.50" in sent
