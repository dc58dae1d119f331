"""Clients that append and make runs for as long as they are let, whatever becomes of the servers, and keep a history.

A client asks until it is told, at one server after the other, with the same idempotency key. Now and then it asks
two servers at once, and now and then for something that must be refused.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.rigs.history import Asked, History

TOOLS = ("undeclared", "repeatable", "told", "probed")
_REQUEST_SECONDS = 10.0
_AGAIN_SECONDS = 0.1
_POLL_SECONDS = 0.1
_OVER = ("completed", "failed", "cancelled", "expired", "incomplete")
# Nothing of the request was kept, the answer says; anything else that went wrong leaves the client in doubt.
_NOT_KEPT = (409, 507)
_PARAMETERS = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


@dataclass(frozen=True, slots=True)
class Told:
    """The last answer, if there was one in time; `doubted` when an earlier asking may have been heard."""

    answer: httpx2.Response | None
    doubted: bool


@dataclass
class Load:
    """`over` is set when nothing new is to be begun; what was begun is asked for until its end."""

    urls: Sequence[str]
    # In every mark and key, so that several may use one log.
    name: str = field(default_factory=lambda: secrets.token_hex(3))
    patience_seconds: float = 40.0
    history: History = field(default_factory=History)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    faults: list[str] = field(default_factory=list)
    followed: list[int] = field(default_factory=list)
    streams_broken: int = 0
    answers: int = 0
    slowest_seconds: float = 0.0
    _turn: itertools.count[int] = field(default_factory=itertools.count)

    async def run(self, appenders: int, runners: int) -> None:
        """Until `over` is set, and everything that was begun has come to its end."""
        limits = httpx2.Limits(max_connections=None)
        async with httpx2.AsyncClient(timeout=_REQUEST_SECONDS, limits=limits) as self._client:
            shared = await self._thread("shared")
            follower = asyncio.create_task(self._follow_events(shared))
            async with asyncio.TaskGroup() as group:
                for number in range(appenders):
                    group.create_task(self._append_for_ever(number, shared))
                for number in range(runners):
                    group.create_task(self._make_runs_for_ever(number))
            await self._see_the_end_of(shared, follower)

    async def answered(self, count: int, within_seconds: float) -> float:
        """Wait for so many answers more; gives how long that took."""
        began, wanted = time.monotonic(), self.answers + count
        while self.answers < wanted:
            if time.monotonic() - began > within_seconds:
                raise AssertionError(f"{self.answers - wanted + count} of {count} answers in {within_seconds:g} s")
            await asyncio.sleep(0.01)
        return time.monotonic() - began

    async def _append_for_ever(self, number: int, shared: str) -> None:
        own = await self._thread(f"own {number}")
        for count in itertools.count():
            if self.over.is_set():
                return
            mark = f"{self.name}m{number}x{count}"
            path = f"/clew/v1/threads/{shared if count % 4 == 0 else own}/events"
            if count % 7 == 0:
                await self._twice_at_once(path, mark)
            else:
                asked = self.history.invoke(mark)
                self._note(asked, await self._insist("POST", path, _message(mark), mark))
            if count % 10 == 0:
                await self._refused(path, mark)

    async def _twice_at_once(self, path: str, mark: str) -> None:
        asked = self.history.invoke(mark)
        both = await asyncio.gather(*(self._insist("POST", path, _message(mark), mark) for _ in range(2)))
        answers = [told.answer for told in both if told.answer is not None and told.answer.is_success]
        if len({answer.json()[0]["position"] for answer in answers}) > 1:
            self.faults.append(f"{mark} was acknowledged at two places")
        best = next((told for told in both if told.answer is not None and told.answer.is_success), both[0])
        self._note(asked, best)

    async def _refused(self, path: str, key: str) -> None:
        """The key stands for another message already, if that one was kept."""
        mark = f"{key}again"
        asked = self.history.invoke(mark)
        told = await self._insist("POST", path, _message(mark), key)
        self._note(asked, told)

    def _note(self, asked: Asked, told: Told) -> None:
        answer = told.answer
        if answer is None:
            return
        if answer.is_success:
            events = answer.json()
            self.history.end(asked, "ok", events[0]["position"] if isinstance(events, list) else None)
        elif not told.doubted or answer.status_code == 400:
            # A key that stands for another request kept nothing of this one, whatever was heard before.
            self.history.end(asked, "fail")

    async def _make_runs_for_ever(self, number: int) -> None:
        functions = [{"type": "function", "function": {"name": name, "parameters": _PARAMETERS}} for name in TOOLS]
        body = {"model": "scripted/scripted", "instructions": "Do it.", "tools": functions}
        made = await self._made("/v1/assistants", body, f"{self.name} assistant {number}")
        for count in itertools.count():
            if self.over.is_set():
                return
            mark = f"{self.name}r{number}x{count}"
            said = f"use {random.choice(TOOLS)} {mark}" if count % 5 else f"hello {mark}"
            wanted = {
                "assistant_id": made["id"],
                "metadata": {"mark": mark},
                "thread": {"messages": [{"role": "user", "content": said}]},
            }
            asked = self.history.invoke(mark)
            told = await self._insist("POST", "/v1/threads/runs", wanted, mark)
            self._note(asked, told)
            if told.answer is not None and told.answer.is_success:
                await self._follow(told.answer.json()["id"])

    async def _follow_events(self, thread: str) -> None:
        """For ever: the events of a thread as they come, from where the last stream ended."""
        for url in itertools.cycle(self.urls):
            headers = {"Accept": "text/event-stream", "Last-Event-ID": str(len(self.followed))}
            try:
                path = f"{url}/clew/v1/threads/{thread}/events"
                async with self._client.stream("GET", path, headers=headers) as sent:
                    async for line in sent.aiter_lines():
                        if line.startswith("id: "):
                            self.followed.append(int(line[4:]))
            except httpx2.TransportError:
                self.streams_broken += 1
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _see_the_end_of(self, thread: str, follower: asyncio.Task[None]) -> None:
        """Whoever follows a thread gets to its end, whatever happened on the way, and has seen each event once."""
        told = await self._insist("GET", f"/clew/v1/threads/{thread}")
        version = told.answer.json()["version"] if told.answer is not None else -1
        end = time.monotonic() + self.patience_seconds
        while len(self.followed) < version and time.monotonic() < end and not follower.done():
            await asyncio.sleep(_POLL_SECONDS)
        follower.cancel()
        await asyncio.wait({follower})
        if self.followed != list(range(1, version + 1)):
            self.faults.append(f"who followed {thread} to version {version} saw {len(self.followed)} events")

    async def _follow(self, run_id: str) -> None:
        """Until the run has ended; a call that is in doubt is settled: its deed is in the file, or is not wanted."""
        end = time.monotonic() + self.patience_seconds
        while time.monotonic() < end:
            told = await self._insist("GET", f"/clew/v1/runs/{run_id}")
            run = told.answer.json()["run"] if told.answer is not None and told.answer.is_success else {}
            if run.get("status") in _OVER:
                if run["status"] != "completed":
                    self.faults.append(f"{run_id} is {run['status']}: {run.get('error_message')}")
                return
            for call in run.get("in_doubt", ()):
                path = f"/clew/v1/runs/{run_id}/tool_calls/{call}/settle"
                await self._insist("POST", path, {"outcome": "happened", "output": "done", "by": "the test"})
            await asyncio.sleep(_POLL_SECONDS)
        self.faults.append(f"{run_id} did not end within {self.patience_seconds:g} s")

    async def _thread(self, name: str) -> str:
        made: str = (await self._made("/clew/v1/threads", {}, f"{self.name} thread {name}"))["thread_id"]
        return made

    async def _made(self, path: str, body: object, key: str) -> Any:
        answer = (await self._insist("POST", path, body, key)).answer
        assert answer is not None, f"{path} is not answered"
        assert answer.is_success, answer.text
        return answer.json()

    async def _insist(self, method: str, path: str, body: object = None, key: str | None = None) -> Told:
        headers = {"Idempotency-Key": key} if key is not None else {}
        began = time.monotonic()
        doubted = False
        while True:
            url = self.urls[next(self._turn) % len(self.urls)]
            answer = None
            try:
                answer = await self._client.request(method, url + path, json=body, headers=headers)
            except httpx2.TransportError as error:
                # Whoever did not get through asked for nothing.
                doubted |= not isinstance(error, httpx2.ConnectError)
            else:
                if answer.status_code < 500 and answer.status_code != 409:
                    self.answers += 1
                    self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)
                    return Told(answer, doubted)
                doubted |= answer.status_code not in _NOT_KEPT
            if time.monotonic() - began > self.patience_seconds:
                return Told(answer if answer is not None and not doubted else None, doubted)
            await asyncio.sleep(_AGAIN_SECONDS)


def _message(mark: str) -> dict[str, object]:
    return {"kind": "message.appended", "role": "user", "content": f"words of {mark}", "metadata": {"mark": mark}}
