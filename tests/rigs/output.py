"""What whole servers print and log, caught where tests can read it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import httpx2

from clew.settings import PROVIDER_NAMES
from tests.rigs.processes import Fleet, Server
from tests.rigs.raw_server import Reply, json_reply, serving

# No provider is configured, whatever is set where the tests run.
UNSET = {f"{name.upper()}_API_KEY": "" for name in PROVIDER_NAMES}
UNSET |= {f"CLEW_{name.upper()}_{what}": "" for name in PROVIDER_NAMES for what in ("API_KEY", "BASE_URL")}
UNSET |= {"CLEW_DEFAULT_PROVIDER": "", "CLEW_API_KEY": "", "CLEW_LOG_LEVEL": ""}
SCRIPTED = ("--default-provider", "scripted")
REQUEST = re.compile(r"\S+Z (?P<level>\w+) (?P<method>[A-Z]+) (?P<path>/\S*) (?P<rest>.*)")
# What is said in these tests, and must be nowhere in what a server says.
SECRET = "plan to buy the moon"


@dataclass
class Heard:
    """A server that runs, and where what it says ends up."""

    server: Server
    out: IO[str]
    err: IO[str]

    def printed(self) -> list[str]:
        return read(self.out)

    def logged(self) -> list[str]:
        return read(self.err)

    def requests(self) -> list[tuple[str, str, str]]:
        """Method, path and what came of it, without milliseconds and ids."""
        return [
            (found["method"], found["path"], re.sub(r"\d+\.\d ms req_\w+ ?", "", found["rest"]).strip())
            for line in self.logged()
            if (found := REQUEST.fullmatch(line)) is not None
        ]


def read(file: IO[str]) -> list[str]:
    file.seek(0)
    return file.read().splitlines()


@contextmanager
def heard(store: Path | str, *options: str, environment: dict[str, str] | None = None) -> Iterator[Heard]:
    """What it says is all there when it has ended."""
    with TemporaryFile("a+") as out, TemporaryFile("a+") as err:
        server = Server(store, options, {**UNSET, **(environment or {})}, stdout=out.fileno(), stderr=err.fileno())
        with Fleet([server]):
            yield Heard(server, out, err)


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.05)


def stopped(one: Heard) -> Heard:
    one.server.stop()
    return one


def with_provider(replies: Sequence[Reply], talk: Callable[[str], None]) -> None:
    """Talk while a provider replies so, at the base URL that is given."""

    async def run() -> None:
        async with serving(*replies) as provider:
            await asyncio.to_thread(talk, provider.base_url)

    asyncio.run(run())


def a_run(server: Server, model: str, **more: Any) -> dict[str, Any]:
    """Once it has ended."""
    with httpx2.Client(base_url=f"{server.url}/v1", timeout=30) as http:
        assistant = http.post("/assistants", json={"model": model}).json()["id"]
        thread = {"messages": [{"role": "user", "content": SECRET}]}
        run: dict[str, Any] = http.post(
            "/threads/runs", json={"assistant_id": assistant, "thread": thread, **more}
        ).json()
        path = f"/threads/{run['thread_id']}/runs/{run['id']}"
        while run["status"] in ("queued", "in_progress"):
            run = http.get(path, headers={"X-Stainless-Poll-Helper": "true"}).json()
    return run


NO = json_reply({"error": {"message": f"I will not: {SECRET}", "code": None}}, 429, "retry-after-ms: 1\r\n")
NEVER = json_reply({"error": {"message": f"I will not: {SECRET}", "type": "invalid_request_error"}}, 400)
WARNINGS = ("--log-level", "warning")
