"""The lines of a stream of server-sent events."""

from __future__ import annotations


class Lines:
    """The data of server-sent events, out of bytes as they come. `found` tells whether there was any.

    httpx2 has an `EventSource`, but it swallows the comments by which servers keep a connection open, so that
    a size limit would not see them, and it takes three times as long. Each data line is an event of its own:
    nobody breaks chunks of an answer over several. The names of events are not read: whoever sends them says the
    same in the data.
    """

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self.found = False

    def take(self, data: bytes) -> list[bytes]:
        # A long line comes in many pieces, which are put together once and not each time.
        end = data.rfind(b"\n")
        if end < 0:
            self._rest.append(data)
            return []
        lines = b"".join([*self._rest, data[:end]]).split(b"\n")
        self._rest = [data[end + 1 :]]
        found = [line[5:].strip() for line in lines if line.startswith(b"data:")]
        self.found = self.found or bool(found)
        return found
