"""Reading server-sent events as they are on the wire, ids included."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import httpx2
import orjson


@dataclass(frozen=True)
class Frame:
    event: str
    data: Any
    id: str | None


def frames(response: httpx2.Response) -> Iterator[Frame]:
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        if line:
            name, _, value = line.partition(":")
            if name:
                fields[name] = value.removeprefix(" ")
        elif fields:
            data = fields["data"]
            yield Frame(fields["event"], data if data == "[DONE]" else orjson.loads(data), fields.get("id"))
            fields = {}


def stream(http: httpx2.Client, method: str, path: str, **request: Any) -> list[Frame]:
    with http.stream(method, path, **request) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        return list(frames(response))


def order(found: list[Frame]) -> str:
    """The events in order, without `thread.`, deltas in a row as one: `run.created … message.delta* … done`."""
    names = [frame.event.removeprefix("thread.") for frame in found]
    return " ".join(f"{name}*" if name.endswith(".delta") else name for name, _ in groupby(names))
