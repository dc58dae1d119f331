"""What `clew serve` and `clew work` log: lines on standard error, written by a thread of their own.

Whoever logs only puts a record into a queue. A terminal or a pipe that nobody reads holds up that thread and nothing
else; once the queue is full lines are dropped, and how many is told when there is room again.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import re
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import QueueHandler, QueueListener

from clew.cli.unhandled import beginning, ends_process, unhandled_are_logged
from clew.logged_errors import Places, kind, one_line, places

LINES_MAX = 10_000
_LINE_CHARS_MAX = 2_000
# Lines that come shortly after each other are written at once: that is cheaper than waking up for each.
_GATHER_SECONDS = 0.02
_GATHER_LINES_MAX = 500
# How long a process that ends waits for whoever should read its last lines.
_LAST_LINES_SECONDS = 1.0
_PLAIN = re.compile(r"[!-~]{1,300}")


@contextmanager
def log_lines(level: str) -> Iterator[LogLines]:
    """Log what is at least of this level; of other people's code warnings and errors only.

    An error that ends the process is told last, and is a `SystemExit` then, which has no words.
    """
    handler = _Handler()
    # Without a standard error its number may be another file's by now.
    listener = LogLines(handler, _Writer(sys.stderr.fileno() if sys.stderr is not None else None))
    # None of this is in a line, and looking for it takes as long as the rest.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root, chosen = logging.getLogger(), logging.getLevelNamesMapping()[level.upper()]
    root.addHandler(handler)
    root.setLevel(max(chosen, logging.WARNING))
    logging.getLogger("clew").setLevel(chosen)
    listener.start()
    try:
        with unhandled_are_logged():
            yield listener
    except BaseException as error:
        code = ends_process(error)
        if code is None:
            raise
        listener.go_on()
        raise SystemExit(code) from None
    finally:
        root.removeHandler(handler)
        listener.stop()


class _Handler(QueueHandler):
    def __init__(self) -> None:
        self.records: queue.SimpleQueue[logging.LogRecord | None] = queue.SimpleQueue()
        super().__init__(self.records)
        self._dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """As it is: it is made a text by the thread that writes it."""
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        if self.records.qsize() < LINES_MAX:
            self.records.put_nowait(record)
        else:
            self._dropped += 1

    def take_dropped(self) -> int:
        """How many lines found no room since this was asked last."""
        self.acquire()
        try:
            dropped, self._dropped = self._dropped, 0
        finally:
            self.release()
        return dropped


class _Writer(logging.Handler):
    """Gathers lines until they are to be written out. `file` None is nowhere."""

    def __init__(self, file: int | None) -> None:
        super().__init__()
        self.setFormatter(_Formatter())
        self._file = file
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.append(self.format(record))
        except BaseException as error:
            # Python would print the record with all that is in it; what is in it may be an object of anybody's.
            self._lines.append(f"a line of {record.name} could not be written: {kind(error)}")
        if len(self._lines) >= _GATHER_LINES_MAX:
            self.write_out()

    def write_out(self) -> None:
        left = "".join(f"{line}\n" for line in self._lines).encode("ascii", "backslashreplace")
        self._lines.clear()
        while left and self._file is not None:
            try:
                left = left[os.write(self._file, left) :]
            except BlockingIOError:
                select.select([], [self._file], [])
            except OSError:
                # Nobody is left to read anything.
                self._file = None


class LogLines(QueueListener):
    """The thread that writes. `stop` waits a little for what is still to be written."""

    def __init__(self, handler: _Handler, writer: _Writer) -> None:
        super().__init__(handler.records, writer)
        self._handler = handler
        self._writer = writer

    def dequeue(self, block: bool) -> logging.LogRecord:
        records = self._handler.records
        if records.empty():
            self._tell_of_dropped()
            self._writer.write_out()
            record = records.get(block)
            if record is not None:
                time.sleep(_GATHER_SECONDS)
        else:
            record = records.get(block)
        return record  # type: ignore[return-value]

    def _tell_of_dropped(self) -> None:
        count = self._handler.take_dropped()
        if count:
            text = "%d lines were dropped here, since nobody read them in time"
            self.handle(logging.LogRecord(__name__, logging.WARNING, "", 0, text, (count,), None))

    def go_on(self) -> None:
        """Write what comes after `stop`."""
        if self._thread is None:
            self.start()

    def stop(self) -> None:
        thread, self._thread = self._thread, None
        self.enqueue_sentinel()
        if thread is not None:
            thread.join(_LAST_LINES_SECONDS)
            if not thread.is_alive():
                self._tell_of_dropped()
                self._writer.write_out()


class _Formatter(logging.Formatter):
    """A record is one line, but for where an error was raised. Texts that come into it are plain words, or quoted: no
    client can add lines, or fields, of its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self._second, self._second_as_text = 0, ""

    def format(self, record: logging.LogRecord) -> str:
        below = self._taken_from(record)
        if isinstance(record.args, tuple):
            record.args = tuple(map(_argument, record.args))
        line = one_line(f"{self.formatTime(record)} {record.levelname} {record.getMessage()}")
        if len(line) > _LINE_CHARS_MAX:
            line = f"{line[: _LINE_CHARS_MAX // 2]} ... {line[-_LINE_CHARS_MAX // 2 :]}"
        return f"{line}\n{below}" if below else line

    def _taken_from(self, record: logging.LogRecord) -> str:
        """What comes below the line. In the line there is no text then that shows the same, or the error itself."""
        if record.name == "asyncio":
            record.msg, record.args = beginning(record.msg), ()
        elif issubclass(type(record.msg), BaseException):
            record.msg, record.args = "%s", (record.msg,)
        elif isinstance(record.args, tuple) and record.args and type(record.args[-1]) is Places:
            *args, below = record.args
            record.msg, record.args = record.msg.removesuffix("\n%s"), tuple(args)
            return str.__str__(below)
        return self.formatException(record.exc_info) if record.exc_info else ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        second = int(record.created)
        if second != self._second:
            self._second = second
            self._second_as_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._second_as_text}.{int(record.msecs):03d}Z"

    def formatException(self, ei: object) -> str:
        """Where the errors were raised, and what can be told of them."""
        assert isinstance(ei, tuple)
        return places(ei[1]) if ei[1] is not None else ""


def _argument(value: object) -> object:
    cls = type(value)
    if issubclass(cls, BaseException):
        return kind(value)  # type: ignore[arg-type]
    if issubclass(cls, str) and not _PLAIN.fullmatch(value):  # type: ignore[call-overload]
        return json.dumps(value[:_LINE_CHARS_MAX])  # type: ignore[index]
    return value
