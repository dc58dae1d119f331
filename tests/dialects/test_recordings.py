"""Recorded traffic with the real API, replayed against ours: the same requests must get the same shapes.

Each request of a recording is sent with our ids in place of the recorded ones. Answers must have the recorded keys
with values of the recorded JSON types; what we have besides, or do otherwise on purpose, is listed with its reason.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.dialects.sse import Frame, order, stream

RECORDINGS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "openai-recordings"
SKIPPED = {
    "FileSearchStreamingWorks": "file_search is not offered yet",
    "FileSearchWorks": "file_search is not offered yet",
    "BasicRunStepFunctionalityWorks": "code_interpreter is not offered yet",
    "Pagination_CanRehydrateRunStepPageCollectionFromBytes": "code_interpreter is not offered yet",
}
# By object and key.
ADDED = {
    ("thread.message", "status"): "OpenAI left it out of messages by users; its document and SDK require it",
    ("thread.message", "incomplete_details"): "as status",
    ("thread.message", "incomplete_at"): "as status",
    ("thread.message", "completed_at"): "as status",
    ("thread.run.step", "expired_at"): "OpenAI's document and SDK have it, its traffic did not",
    ("thread.run.step", "metadata"): "as expired_at",
    ("thread.message", "attachments"): "a modified message was once shown in the shape of version 1, with file_ids",
}
LEFT_OUT = {
    ("thread.message", "file_ids"): "a leftover of version 1 of the API",
    ("function", "description"): "shown when it was given; our document says it is a string",
    ("function", "parameters"): "shown when they were given",
}
OTHERWISE = {
    ("thread.run", "instructions"): "null in traffic; document and SDK say it is a string, so it is empty",
    ("thread", "tool_resources"): "OpenAI showed an empty code_interpreter at times, and at other times nothing",
    ("thread.run", "tool_resources"): "as in a thread",
}
FREE = frozenset(("metadata", "parameters", "tool_resources"))
OF_ITS_STATUS = frozenset(("started_at", "completed_at", "expires_at", "usage"))
STOPS = frozenset(("completed", "requires_action", "failed", "cancelled", "expired", "incomplete"))
ID = re.compile(r"\b(?:asst|thread|msg|run|step|call)_[0-9A-Za-z]{16,}")


def recordings() -> list[Path]:
    return sorted(RECORDINGS.glob("AssistantsTests_*.json"))


def test_the_recordings_are_there() -> None:
    if not recordings():
        pytest.skip(f"no recordings in {RECORDINGS}")
    names = {path.stem.removeprefix("AssistantsTests_") for path in recordings()}
    assert names > set(SKIPPED)


@pytest.mark.parametrize("path", recordings(), ids=lambda path: path.stem.removeprefix("AssistantsTests_"))
def test_a_recording(path: Path, http: httpx2.Client) -> None:
    name = path.stem.removeprefix("AssistantsTests_")
    if name in SKIPPED:
        pytest.skip(SKIPPED[name])
    replay = Replay(http)
    for entry in json.loads(path.read_text())["Entries"]:
        replay.play(entry)
    assert replay.compared


class Replay:
    """Our ids by recorded ids, learnt from the answers as they come."""

    def __init__(self, http: httpx2.Client) -> None:
        self._http = http
        self._ids: dict[str, str] = {}
        self.compared = 0

    def play(self, entry: dict[str, Any]) -> None:
        method, recorded = entry["RequestMethod"], entry["ResponseBody"]
        path = self._ours(entry["RequestUri"].partition("/v1")[2])
        body = json.loads(self._ours(json.dumps(entry["RequestBody"])))
        request = {"json": _with_a_model_of_ours(body)} if body is not None else {}
        if isinstance(recorded, list):
            self._streamed(_frames(recorded), stream(self._http, method, path, **request))
            return
        answer = self._answer(method, path, request, recorded)
        if answer is not None:
            self._learn(recorded, answer)
            self._compare(recorded, answer)

    def _answer(
        self, method: str, path: str, request: dict[str, Any], recorded: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Our answer; None where the recording saw a run in a passing state that ours may have left."""
        polls = recorded.get("object") == "thread.run" and method == "GET"
        if polls and recorded["status"] not in STOPS:
            return None
        deadline = time.monotonic() + 5
        while True:
            response = self._http.request(method, path, **request)
            assert response.status_code == 200, response.text
            answer: dict[str, Any] = response.json()
            if recorded.get("object") == "list":
                # Our runs are faster, and may have said something already that a recording did not see yet.
                answer["data"] = answer["data"][len(answer["data"]) - len(recorded["data"]) :]
            if not polls or answer["status"] == recorded["status"]:
                return answer
            assert time.monotonic() < deadline, f"{path} stays {answer['status']}"

    def _streamed(self, recorded: list[Frame], ours: list[Frame]) -> None:
        assert order(ours) == order(recorded)
        whole, our_whole = (
            [frame.data for frame in found[:-1] if not frame.event.endswith(".delta")] for found in (recorded, ours)
        )
        for one, other in zip(whole, our_whole, strict=True):
            self._learn(one, other)
            self._compare(one, other)
        for event in {frame.event for frame in recorded if frame.event.endswith(".delta")}:
            first = next(frame.data for frame in recorded if frame.event == event)
            self._compare(first, next(frame.data for frame in ours if frame.event == event))

    def _ours(self, text: str) -> str:
        return ID.sub(lambda found: self._ids.get(found[0], found[0]), text)

    def _learn(self, recorded: Any, ours: Any) -> None:
        if isinstance(recorded, dict) and isinstance(ours, dict):
            for key in recorded.keys() & ours.keys():
                self._learn(recorded[key], ours[key])
        elif isinstance(recorded, list) and isinstance(ours, list):
            for one, other in zip(recorded, ours, strict=False):
                self._learn(one, other)
        elif isinstance(recorded, str) and isinstance(ours, str) and ID.fullmatch(recorded):
            self._ids[recorded] = ours

    def _compare(self, recorded: Any, ours: Any) -> None:
        self.compared += 1
        differences = list(_differences(recorded, ours, kind=recorded.get("object", "")))
        assert not differences, "\n".join(differences)


def _with_a_model_of_ours(body: dict[str, Any]) -> dict[str, Any]:
    """An assistant with tools gets the model that calls one."""
    return {**body, "model": "weather" if body.get("tools") else "echo"} if "model" in body else body


def _frames(lines: list[str]) -> list[Frame]:
    found, event = [], ""
    for line in lines:
        name, _, value = line.strip().partition(": ")
        if name == "event":
            event = value
        elif name == "data":
            found.append(Frame(event, value if value == "[DONE]" else json.loads(value), None))
    return found


def _differences(recorded: Any, ours: Any, kind: str, name: str = "") -> Iterator[str]:
    if isinstance(recorded, dict) and isinstance(ours, dict):
        for key in recorded.keys() - ours.keys():
            if (kind, key) not in LEFT_OUT and (name, key) not in LEFT_OUT:
                yield f"{kind}: {name}.{key} is missing"
        for key in ours.keys() - recorded.keys():
            if (kind, key) not in ADDED:
                yield f"{kind}: {name}.{key} is not in the recording"
        # A list may show a run of ours further on than the recorded one was at that moment.
        elsewhere = kind == "thread.run" and recorded.get("status") != ours.get("status")
        for key in recorded.keys() & ours.keys() - FREE - (OF_ITS_STATUS if elsewhere else frozenset()):
            if (kind, key) not in OTHERWISE:
                inner = recorded[key].get("object", kind) if isinstance(recorded[key], dict) else kind
                yield from _differences(recorded[key], ours[key], inner, key)
    elif isinstance(recorded, list) and isinstance(ours, list):
        for one, other in zip(recorded, ours, strict=False):
            yield from _differences(one, other, one.get("object", kind) if isinstance(one, dict) else kind, name)
    elif _json_type(recorded) != _json_type(ours):
        yield f"{kind}: {name} is {_json_type(ours)}, {_json_type(recorded)} in the recording"


def _json_type(value: Any) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "string", dict: "object", list: "array"}
    return names.get(type(value), "null")
