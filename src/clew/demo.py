"""The demo: a conversation with an agent that uses tools, a server killed in the middle of it, and the audit.

It needs no key and no network: the provider `scripted` plays the model. Client and server speak the OpenAI
Assistants API over HTTP, as your own program would with the official SDK.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import orjson
from rich.console import Console
from rich.markup import escape

from clew.audit.telling import audit
from clew.cli.audit_text import print_audit
from clew.engine.tools import ToolCallInfo, tool
from clew.log import Log, open_store

_ASKED = "What will the weather be in Lisbon on Friday? If it is fine, book us a table outside for two."
_SCRIPT = {
    "rules": [
        {
            "when": {"tool": "book_table"},
            "say": "Friday will be sunny at 24 degrees, so I booked a table outside for two. {result}",
        },
        {
            "when": {"tool": "get_weather"},
            "call": [{"name": "book_table", "arguments": {"restaurant": "Ponto Final", "people": 2}}],
        },
        {
            "when": {"user": "weather"},
            "say": "Let me look at the forecast first.",
            "call": [{"name": "get_weather", "arguments": {"city": "Lisbon", "day": "Friday"}}],
        },
        {"say": "You said: {user}"},
    ]
}
_FUNCTIONS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {"type": "object", "properties": {key: {"type": kind} for key, kind in fields.items()}},
        },
    }
    for name, description, fields in (
        ("get_weather", "The forecast for a city and a day.", {"city": "string", "day": "string"}),
        ("book_table", "Book a table in a restaurant.", {"restaurant": "string", "people": "integer"}),
    )
]


@tool(effect="idempotent", timeout_seconds=10)
def book_table(restaurant: str, people: int, call: ToolCallInfo) -> str:
    """Write the booking down, then take a while: time enough to be killed after the deed and before the answer."""
    path = Path(os.environ["CLEW_DEMO_BOOKINGS"])
    known = path.read_text().splitlines() if path.exists() else []
    if not any(line.startswith(call.idempotency_key) for line in known):
        with path.open("a") as file:
            file.write(f"{call.idempotency_key} {restaurant}, {people} people\n")
            file.flush()
            os.fsync(file.fileno())
        time.sleep(1.0)
    return f"Booked at {restaurant} for {people}."


TOOLS = [book_table]


def play(console: Console) -> None:
    with tempfile.TemporaryDirectory(prefix="clew-demo-") as folder:
        _Demo(console, Path(folder)).play()


class _Demo:
    def __init__(self, console: Console, folder: Path) -> None:
        self._console = console
        self._store = folder / "threads.db"
        self._bookings = folder / "bookings.txt"
        self._script = folder / "script.json"
        self._script.write_bytes(orjson.dumps(_SCRIPT))
        self._port = 0

    def play(self) -> None:
        self._say("1", "a server, on a file of its own; the provider [b]scripted[/] plays the model")
        with self._server() as server:
            with self._client() as client:
                thread_id, run_id = self._converse(client)
                self._say(
                    "5", "the server executes [b]book_table[/] itself. The booking is made, the answer is not back"
                )
                self._wait_for_booking()
            server.send_signal(signal.SIGKILL)
            server.wait()
            self._say("6", f"[red]kill -9[/] {server.pid}: the server is gone, in the middle of the run")
        with self._server(), self._client() as client:
            self._say("7", "the same file, a new server: the run goes on where its events end")
            run = self._wait_for_end(client, thread_id, run_id)
            self._console.print(f"      run {run_id} is [green]{run['status']}[/]")
            messages = client.get(f"/threads/{thread_id}/messages", params={"order": "asc"}).json()["data"]
            for message in messages:
                said = "".join(part["text"]["value"] for part in message["content"])
                self._console.print(f"      [bold]{message['role']:>9}[/]  {escape(said)}")
        bookings = self._bookings.read_text().splitlines()
        self._console.print(f"      bookings made: [bold]{len(bookings)}[/] (called twice, with one idempotency key)")
        self._say("8", "what happened, from the events alone: [b]clew audit[/]")
        self._audit(run_id)
        self._console.print("\nNow point your own code at it: [bold]clew serve[/], base URL http://127.0.0.1:8787/v1")

    def _converse(self, client: httpx2.Client) -> tuple[str, str]:
        self._say("2", "an assistant with two tools: one the client executes, one the server executes")
        assistant = self._post(
            client,
            "/assistants",
            {"model": "scripted/demo", "instructions": "You plan evenings.", "tools": _FUNCTIONS},
        )
        self._say("3", f"the user asks, the answer is streamed: [i]{_ASKED}[/]")
        body = {
            "assistant_id": assistant["id"],
            "thread": {"messages": [{"role": "user", "content": _ASKED}]},
            "stream": True,
        }
        run = self._streamed(client, body)
        calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        self._say("4", f"the run waits for the client, which runs [b]{calls[0]['function']['name']}[/] and answers")
        outputs = [{"tool_call_id": call["id"], "output": "sunny, 24 degrees"} for call in calls]
        path = f"/threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs"
        self._post(client, path, {"tool_outputs": outputs})
        return run["thread_id"], run["id"]

    def _streamed(self, client: httpx2.Client, body: dict[str, Any]) -> dict[str, Any]:
        run: dict[str, Any] = {}
        event = ""
        with client.stream("POST", "/threads/runs", json=body) as response:
            for line in response.iter_lines():
                if line.startswith("event: "):
                    event = line.removeprefix("event: ")
                elif line.startswith("data: {"):
                    data = orjson.loads(line.removeprefix("data: "))
                    if event == "thread.message.delta":
                        piece = data["delta"]["content"][0]["text"]["value"]
                        self._console.print(f"[green]{escape(piece)}[/]", end="")
                    elif event == "thread.run.requires_action":
                        run = data
        self._console.print()
        return run

    def _post(self, client: httpx2.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = client.post(path, json=body)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def _wait_for_booking(self) -> None:
        self._until("the booking", lambda: self._bookings.exists() and self._bookings.stat().st_size > 0)

    def _wait_for_end(self, client: httpx2.Client, thread_id: str, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def ended() -> bool:
            found.update(client.get(f"/threads/{thread_id}/runs/{run_id}").json())
            return found["status"] in ("completed", "failed", "expired", "incomplete")

        self._until("the end of the run", ended)
        return found

    def _until(self, what: str, is_so: Any) -> None:
        end = time.monotonic() + 10
        while not is_so():
            if time.monotonic() > end:
                raise TimeoutError(f"the demo waited 10 seconds for {what}")
            time.sleep(0.02)

    def _audit(self, run_id: str) -> None:
        log = Log(open_store(str(self._store), writing=False))
        try:
            with log.reading() as reader:
                print_audit(self._console, audit(reader, run_id))
        finally:
            log.close()

    def _client(self) -> httpx2.Client:
        return httpx2.Client(base_url=f"http://127.0.0.1:{self._port}/v1", timeout=10)

    @contextmanager
    def _server(self) -> Iterator[subprocess.Popen[str]]:
        """A server of its own process, the second time on the port of the first."""
        command = [sys.executable, "-m", "clew", "serve", "--port", str(self._port), "--store", str(self._store)]
        command += ["--script", str(self._script), "--tools", "clew.demo:TOOLS", "--log-level", "warning"]
        environment = {**os.environ, "CLEW_DEMO_BOOKINGS": str(self._bookings), "COLUMNS": "200"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            try:
                line = process.stdout.readline()
                if "http://127.0.0.1:" not in line:
                    raise RuntimeError(f"the demo's server did not start: {line or 'it said nothing'}")
                self._port = int(line.split("http://127.0.0.1:")[1].split("/")[0])
                self._until("the server", self._answers)
                yield process
            finally:
                process.terminate()
                process.wait()

    def _answers(self) -> bool:
        try:
            return httpx2.get(f"http://127.0.0.1:{self._port}/healthz").is_success
        except httpx2.TransportError:
            return False

    def _say(self, number: str, what: str) -> None:
        self._console.print(f"\n[bold cyan]{number}[/]  {what}")
