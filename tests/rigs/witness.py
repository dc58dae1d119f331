"""A witness of what clients of the OpenAI API were shown, who asks for all of it again as of when it was shown."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

import httpx2
from openai import APIStatusError, OpenAI

_THREAD = re.compile(r"/threads/(thread_\w+)")


@dataclass
class Witness:
    """Listens to clients of the official SDK. `answers` has, by position, paths, statuses and bytes."""

    answers: dict[int, list[tuple[str, int, bytes]]] = field(default_factory=dict)

    def client(self, base_url: str) -> OpenAI:
        hooks: Any = {"response": [self._read]}
        return OpenAI(base_url=base_url, api_key="x", max_retries=0, http_client=httpx2.Client(event_hooks=hooks))

    def listening(self) -> httpx2.AsyncClient:
        """What a client of the asynchronous SDK is given to speak through."""
        hooks: Any = {"response": [self._aread]}
        return httpx2.AsyncClient(event_hooks=hooks)

    def _read(self, response: httpx2.Response) -> None:
        if not streamed(response):
            response.read()
            self._note(response)

    async def _aread(self, response: httpx2.Response) -> None:
        if not streamed(response):
            await response.aread()
            self._note(response)

    def _note(self, response: httpx2.Response) -> None:
        method, position = response.request.method, response.headers.get("clew-position")
        if position is None:
            assert method == "DELETE" or response.is_error, f"{method} {response.request.url} says not when it was so"
        elif method == "GET" or response.is_success:
            # What a request made or changed is an object that can be asked for.
            path = str(response.request.url).partition("/v1")[2] if method == "GET" else path_of(response.json())
            seen = (path, response.status_code, response.content)
            self.answers.setdefault(int(position), []).append(seen)

    def paths(self) -> set[str]:
        return {path for seen in self.answers.values() for path, _, _ in seen}

    @property
    def messages(self) -> set[bytes]:
        """Every message that was ever shown, as it was shown."""
        bodies = (json.loads(body) for seen in self.answers.values() for _, status, body in seen if status == 200)
        objects = (one for body in bodies for one in (body["data"] if body["object"] == "list" else [body]))
        return {json.dumps(one).encode() for one in objects if one["object"] == "thread.message"}

    def ask_again(self, origin: str) -> int:
        """How many answers came again, byte for byte, from `/at/<position>/v1`. Raises `AssertionError`."""
        again = 0
        with httpx2.Client(timeout=30) as http:
            for position, seen in self.answers.items():
                base_url = f"{origin}/at/{position}/v1"
                past = OpenAI(base_url=base_url, api_key="x", max_retries=0, http_client=http)
                for path, status, body in seen:
                    found = raw(past, path)
                    assert found == (status, body), f"{path} at {position} was {body!r} and is {found}"
                    again += 1
        return again


def look_back(witness: Witness, origin: str) -> dict[str, int]:
    """Edit, remove and delete what was said, then find all that was ever shown of it as of when it was shown."""
    with httpx2.Client(base_url=origin, timeout=30) as http:
        for thread_id in {found[1] for path in witness.paths() if (found := _THREAD.match(path))}:
            said = http.get(f"/v1/threads/{thread_id}/messages", params={"order": "asc"}).json()["data"]
            if len(said) > 1:
                edit = {"kind": "message.edited", "message_id": said[0]["id"], "content": "Never mind."}
                http.post(f"/clew/v1/threads/{thread_id}/events", json=edit).raise_for_status()
                http.delete(f"/v1/threads/{thread_id}/messages/{said[1]['id']}").raise_for_status()
            http.delete(f"/v1/threads/{thread_id}").raise_for_status()
    return {"messages_shown": len(witness.messages), "found_again": witness.ask_again(origin)}


def streamed(response: httpx2.Response) -> bool:
    return response.headers.get("content-type", "").startswith("text/event-stream")


def raw(client: OpenAI, path: str) -> tuple[int, bytes]:
    """Status and bytes of what the SDK gets for a path."""
    try:
        response = client.get(path, cast_to=httpx2.Response)
    except APIStatusError as error:
        response = error.response
    return response.status_code, response.content


def path_of(shown: dict[str, Any]) -> str:
    """Where an object is to be found."""
    match shown["object"]:
        case "assistant":
            return f"/assistants/{shown['id']}"
        case "thread":
            return f"/threads/{shown['id']}"
        case "thread.message":
            return f"/threads/{shown['thread_id']}/messages/{shown['id']}"
        case "thread.run":
            return f"/threads/{shown['thread_id']}/runs/{shown['id']}"
        case "thread.run.step":
            return f"/threads/{shown['thread_id']}/runs/{shown['run_id']}/steps/{shown['id']}"
        case other:
            raise AssertionError(other)
