"""Recordings as they are kept: read from a log, written to a file of lines, and read from one again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import orjson

from clew import exact_json
from clew.engine.replaying.recordings import Recording
from clew.errors import NotFound
from clew.events.base import Event, Recorded
from clew.events.thread import ThreadForked
from clew.log import Reader, codec


def recording(reader: Reader, thread_id: str) -> Recording:
    """Of a thread and all that it inherited. Raises `NotFound`."""
    events = reader.stream(thread_id)
    if not events:
        raise NotFound(noun="thread", id=thread_id)
    lineage: list[tuple[str, Sequence[Recorded[Event]]]] = []
    first = events[0].event
    while isinstance(first, ThreadForked):
        inherited = reader.stream(first.parent, upto=first.parent_version)
        lineage.insert(0, (first.parent, inherited))
        first = inherited[0].event
    return Recording(thread_id, events, dict(lineage))


def read_lines(lines: Iterable[str]) -> Recording:
    """From exported events, one JSON object a line: the thread's own stream is the last to begin."""
    streams: dict[str, list[Recorded[Event]]] = {}
    for line in lines:
        said = exact_json.loads(line)
        event = codec.decode(said["kind"], exact_json.dumps(said["data"]))
        stream = said["thread_id"]
        recorded = Recorded(said["position"], stream, said["version"], said["at"], said["actor"], event)
        streams.setdefault(stream, []).append(recorded)
    *inherited, thread_id = streams
    return Recording(thread_id, streams[thread_id], {stream: streams[stream] for stream in inherited})


def lines(recorded: Recording) -> Iterator[str]:
    """The events of a recording and of what it inherited, one JSON object a line, as `read_lines` takes them."""
    for stream in (*recorded.lineage.values(), recorded.events):
        for one in stream:
            said = {
                "position": one.position,
                "thread_id": one.stream,
                "version": one.version,
                "at": one.at,
                "actor": one.actor,
                "kind": one.event.kind,
                "data": orjson.Fragment(codec.encode(one.event)),
            }
            yield orjson.dumps(said).decode()
