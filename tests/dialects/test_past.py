"""What was ever shown is shown again, byte for byte, as of the position at which it was shown."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from openai import BadRequestError, NotFoundError, OpenAI

from tests.dialects.conftest import Server
from tests.dialects.faults import fault
from tests.dialects.sse import stream
from tests.rigs.witness import Witness, path_of

pytestmark = pytest.mark.slow

SOON = "2999-12-31T23:59:59Z"


def past_of(server: Server, point: object) -> str:
    """A base URL for the SDK."""
    return server.base_url.replace("/openai/v1", f"/at/{point}/v1")


@dataclass
class Play:
    """Things that happen to a few threads and assistants, each followed by a look around."""

    client: OpenAI
    native: httpx2.Client
    random: Random
    threads: list[str] = field(default_factory=list)
    messages: list[tuple[str, str]] = field(default_factory=list)
    runs: list[tuple[str, str]] = field(default_factory=list)
    assistants: list[str] = field(default_factory=list)

    def begin(self) -> None:
        self.assistants.append(self.client.beta.assistants.create(model="echo", name="Ada").id)
        self.assistants.append(self.client.beta.assistants.create(model="two-tools", instructions="Use tools.").id)
        self.assistants.append(self.client.beta.assistants.create(model="refuses").id)
        for number in range(3):
            said = [{"role": "user", "content": f"Hello {n}"} for n in range(number + 1)]
            made = self.client.beta.threads.create(messages=said, metadata={"play": "1"})  # type: ignore[arg-type]
            self.threads.append(made.id)
            self.say()

    def act(self) -> None:
        deeds = (self.say, self.say, self.change, self.edit, self.remove, self.rename, self.run, self.run, self.teach)
        # A refusal is an answer, too.
        with suppress(BadRequestError, NotFoundError):
            self.random.choice(deeds)()

    def say(self) -> None:
        thread_id = self.random.choice(self.threads)
        made = self.client.beta.threads.messages.create(thread_id, role="user", content=f"Word {self.random.random()}")
        self.messages.append((thread_id, made.id))

    def change(self) -> None:
        thread_id, message_id = self.random.choice(self.messages)
        self.client.beta.threads.messages.update(
            message_id, thread_id=thread_id, metadata={"n": str(self.random.random())}
        )

    def edit(self) -> None:
        """The OpenAI API has no word for it."""
        thread_id, message_id = self.random.choice(self.messages)
        body = {"kind": "message.edited", "message_id": message_id, "content": f"Rather {self.random.random()}"}
        assert self.native.post(f"/threads/{thread_id}/events", json=body).status_code in (200, 400, 404)

    def remove(self) -> None:
        thread_id, message_id = self.random.choice(self.messages)
        self.client.beta.threads.messages.delete(message_id, thread_id=thread_id)

    def rename(self) -> None:
        metadata = {"play": "1", "n": str(self.random.randrange(3))}
        self.client.beta.threads.update(self.random.choice(self.threads), metadata=metadata)

    def teach(self) -> None:
        self.client.beta.assistants.update(self.assistants[0], name=f"Ada {self.random.random()}")

    def run(self) -> None:
        threads, thread_id = self.client.beta.threads, self.random.choice(self.threads)
        run = threads.runs.create(thread_id, assistant_id=self.random.choice(self.assistants))
        self.runs.append((thread_id, run.id))
        run = threads.runs.poll(run.id, thread_id=thread_id)
        if run.required_action is None:
            return
        self.look(thread_id)
        if self.random.random() < 0.3:
            threads.runs.cancel(run.id, thread_id=thread_id)
        else:
            calls = run.required_action.submit_tool_outputs.tool_calls
            outputs = [{"tool_call_id": call.id, "output": "sunny"} for call in calls]
            threads.runs.submit_tool_outputs(run.id, thread_id=thread_id, tool_outputs=outputs)  # type: ignore[arg-type]
        threads.runs.poll(run.id, thread_id=thread_id)

    def look(self, thread_id: str) -> None:
        """At lists from either end, page by page, and at what is in them."""
        threads = self.client.beta.threads
        threads.retrieve(thread_id)
        newest = threads.messages.list(thread_id, limit=3)
        if newest.has_more:
            threads.messages.list(thread_id, limit=2, after=newest.data[-1].id)
            threads.messages.list(thread_id, limit=2, order="asc", before=newest.data[0].id)
        threads.messages.list(thread_id, order="asc", limit=100)
        for run in threads.runs.list(thread_id, limit=2).data:
            threads.messages.list(thread_id, run_id=run.id)
            for step in threads.runs.steps.list(run.id, thread_id=thread_id, limit=1).data:
                threads.runs.steps.retrieve(step.id, thread_id=thread_id, run_id=run.id)
            threads.runs.steps.list(run.id, thread_id=thread_id, order="asc")
        self.client.get("/threads?metadata[play]=1&limit=2", cast_to=httpx2.Response)
        self.client.beta.assistants.list(limit=2)


def test_whatever_was_shown_is_found_again_byte_for_byte(server: Server) -> None:
    witness = Witness()
    native_url = server.base_url.replace("/openai/v1", "/clew/v1")
    with witness.client(server.base_url) as client, httpx2.Client(base_url=native_url) as native:
        play = Play(client, native, Random(5))
        play.begin()
        for _ in range(45):
            play.act()
            play.look(play.random.choice(play.threads))
        for thread_id in play.threads:
            client.beta.threads.delete(thread_id)
        for assistant_id in play.assistants:
            client.beta.assistants.delete(assistant_id)
    assert witness.ask_again(server.base_url.removesuffix("/openai/v1")) > 400
    assert len(witness.answers) > 50
    assert len(witness.messages) > 20
    assert events_of(server) >= MUST_HAPPEN


MUST_HAPPEN = {
    *("message.changed", "message.edited", "message.removed", "thread.changed", "thread.deleted", "assistant.changed"),
    *("assistant.deleted", "run.cancelled", "run.completed", "tool.returned"),
}


def events_of(server: Server) -> set[str]:
    with server.engine.log.reading() as reader:
        return {recorded.event.kind for recorded in reader.follow(0, 100_000)}


SHOWS_HOW_IT_STANDS = (
    "thread.message.completed",
    "thread.run.step.completed",
    *(f"thread.run.{status}" for status in ("created", "queued", "in_progress", "requires_action", "completed")),
)


def test_what_a_stream_showed_is_found_again_as_of_the_version_that_its_frame_bears(
    http: httpx2.Client, server: Server, thread_id: str, assistant_id: str
) -> None:
    body = {"assistant_id": assistant_id, "model": "two-tools", "stream": True}
    frames = stream(http, "POST", f"/threads/{thread_id}/runs", json=body)
    run = frames[-2].data
    calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    outputs = [{"tool_call_id": call["id"], "output": "sunny"} for call in calls]
    path = f"/threads/{thread_id}/runs/{run['id']}"
    answer = {"tool_outputs": outputs, "stream": True}
    frames += stream(http, "POST", f"{path}/submit_tool_outputs", json=answer)
    http.delete(f"/threads/{thread_id}")
    found = set()
    for frame in frames:
        if frame.event in SHOWS_HOW_IT_STANDS and frame.id is not None:
            version = frame.id.partition("-")[0]
            past = httpx2.get(f"{past_of(server, f'v{version}')}{path_of(frame.data)}")
            assert past.json() == frame.data, frame.event
            found.add(frame.event)
    assert found == set(SHOWS_HOW_IT_STANDS)


def test_a_stream_of_the_past_ends_at_the_point(
    http: httpx2.Client, server: Server, thread_id: str, assistant_id: str
) -> None:
    body = {"assistant_id": assistant_id, "model": "echo", "stream": True}
    whole = stream(http, "POST", f"/threads/{thread_id}/runs", json=body)
    path = f"/threads/{thread_id}/runs/{whole[0].data['id']}/events"
    again = [frame for frame in stream(http, "GET", path) if frame.id is not None]
    last = int(str(again[-1].id).partition("-")[0])
    for version in range(int(str(again[0].id).partition("-")[0]), last + 1):
        past = stream(http, "GET", path, headers={"Clew-As-Of": f"v{version}"})
        upto = [frame for frame in again if int(str(frame.id).partition("-")[0]) <= version]
        assert past[-1].event == "done"
        assert past[:-1] == upto


@pytest.fixture
def moments(http: httpx2.Client, thread_id: str) -> list[tuple[int, str]]:
    """Positions, and what the newest message of the thread was as of each."""
    found = []
    for number in range(3):
        made = http.post(f"/threads/{thread_id}/messages", json={"role": "user", "content": f"No. {number}"})
        found.append((int(made.headers["clew-position"]), f"No. {number}"))
    http.delete(f"/threads/{thread_id}")
    return found


def said(answer: httpx2.Response) -> str:
    assert answer.status_code == 200, answer.text
    value: str = answer.json()["data"][0]["content"][0]["text"]["value"]
    return value


def test_a_point_is_a_position_a_version_or_a_time_in_the_header_or_the_path(
    http: httpx2.Client, server: Server, thread_id: str, moments: list[tuple[int, str]]
) -> None:
    path = f"/threads/{thread_id}/messages"
    assert http.get(path).status_code == 404
    for version, (position, text) in enumerate(moments, 3):
        with server.engine.log.reading() as reader:
            at = reader.event(position).at
        zulu = datetime.fromtimestamp(at // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{at % 1_000_000:06}Z"
        local = datetime.fromtimestamp(at // 1_000_000 + 7200, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        local += f".{at % 1_000_000:06}999+02:00"
        for point in (str(position), f"v{version}", zulu, local):
            for written in (point, quote(point, safe="")):
                assert said(http.get(path, headers={"Clew-As-Of": written})) == text
                for mount in ("v1", "openai/v1"):
                    base = server.base_url.replace("/openai/v1", f"/at/{written}/{mount}")
                    assert said(httpx2.get(base + path)) == text


@pytest.mark.parametrize(
    ("point", "why"),
    [
        ("yesterday", "Write a position (1234), a version of the thread (v12) or a time (2026-08-01T12:00:00Z)."),
        ("", "Write a position (1234), a version of the thread (v12) or a time (2026-08-01T12:00:00Z)."),
        ("-1", "Write a position (1234), a version of the thread (v12) or a time (2026-08-01T12:00:00Z)."),
        ("2026-08-01", "Write a position (1234), a version of the thread (v12) or a time (2026-08-01T12:00:00Z)."),
        ("2026-02-30T00:00:00Z", "There is no such time (day is out of range for month)."),
        (SOON, "It is still to come."),
        ("99999999999999", "It is still to come; the newest position is {head}."),
        ("v99", "It is still to come; {thread} is at v2."),
        ("v0", "Versions count from v1."),
    ],
)
def test_a_point_that_is_none_is_refused(
    http: httpx2.Client, server: Server, thread_id: str, point: str, why: str
) -> None:
    with server.engine.log.reading() as reader:
        why = why.format(head=reader.head(), thread=thread_id)
    expected = (400, f"Invalid 'Clew-As-Of': '{point}'. {why}", "Clew-As-Of", "invalid_value")
    assert fault(http.get(f"/threads/{thread_id}", headers={"Clew-As-Of": point})) == expected
    if point:
        expected = (400, f"Invalid '/at/': '{point}'. {why}", "/at/", "invalid_value")
        assert fault(httpx2.get(f"{past_of(server, point)}/threads/{thread_id}")) == expected


def test_a_version_is_one_of_a_thread(http: httpx2.Client, server: Server) -> None:
    status, message, param, _ = fault(http.get("/assistants", headers={"Clew-As-Of": "v1"}))
    assert (status, param) == (400, "Clew-As-Of")
    assert "no thread is asked for" in message
    gone = http.get("/threads/thread_000000000000000000000000", headers={"Clew-As-Of": "v1"})
    assert fault(gone)[:2] == (404, "No thread found with id 'thread_000000000000000000000000'.")


def test_a_request_names_one_point(http: httpx2.Client, server: Server, thread_id: str) -> None:
    url = f"{past_of(server, 'v1')}/threads/{thread_id}"
    assert httpx2.get(url, headers={"Clew-As-Of": "v1"}).status_code == 200
    status, message, _, _ = fault(httpx2.get(url, headers={"Clew-As-Of": "v2"}))
    assert status == 400
    assert "name one point" in message


def test_the_past_is_read_only(http: httpx2.Client, server: Server, thread_id: str, assistant_id: str) -> None:
    with server.engine.log.reading() as reader:
        head = reader.head()
    writes: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/threads", {}),
        ("POST", f"/threads/{thread_id}", {"metadata": {"a": "b"}}),
        ("POST", f"/threads/{thread_id}/messages", {"role": "user", "content": "Late"}),
        ("POST", f"/threads/{thread_id}/runs", {"assistant_id": assistant_id}),
        ("POST", "/threads/runs", {"assistant_id": assistant_id}),
        ("DELETE", f"/threads/{thread_id}", {}),
        ("POST", "/assistants", {"model": "echo"}),
        ("DELETE", f"/assistants/{assistant_id}", {}),
    ]
    for method, path, body in writes:
        message = "The past is read-only: '{}' of this request is '{}'. Send what changes something without it."
        refused = http.request(method, path, json=body, headers={"Clew-As-Of": "1"})
        assert fault(refused) == (400, message.format("Clew-As-Of", "1"), "Clew-As-Of", "past_is_read_only")
        refused = httpx2.request(method, f"{past_of(server, 1)}{path}", json=body)
        assert fault(refused) == (400, message.format("/at/", "1"), "/at/", "past_is_read_only")
    with server.engine.log.reading() as reader:
        assert reader.head() == head


def test_before_everything_there_is_nothing(server: Server, thread_id: str) -> None:
    base = past_of(server, 0)
    assert httpx2.get(f"{base}/threads/{thread_id}").status_code == 404
    assert httpx2.get(f"{base}/assistants").json()["data"] == []
