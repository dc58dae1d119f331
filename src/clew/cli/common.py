"""What the commands share: options, opening a log to read, and telling times."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from clew import exact_json
from clew.errors import Misconfigured
from clew.log import Log, Reader, open_store
from clew.past import Point
from clew.settings import from_environment

if TYPE_CHECKING:
    import httpx2

StoreOption = Annotated[
    str | None,
    typer.Option("--store", help="A file, or postgresql://user@host/database. Else CLEW_STORE, else a file."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

AsOfOption = Annotated[
    str | None,
    typer.Option("--as-of", metavar="POINT", help="As it was at a position, a version (v12) or a time (RFC 3339)."),
]
PROGRESS_COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())

console = Console(highlight=False)


@contextmanager
def open_log(store: str | None) -> Iterator[Log]:
    """The log, for reading only: also while a server writes to it."""
    log = Log(open_store(from_environment(store=store).store, writing=False))
    try:
        yield log
    finally:
        log.close()


@contextmanager
def open_reader(store: str | None) -> Iterator[Reader]:
    with open_log(store) as log, log.reading() as reader:
        yield reader


def print_json(value: Any) -> None:
    sys.stdout.write(exact_json.dumps(value, option=orjson.OPT_INDENT_2, default=str).decode() + "\n")


def clock(at: int) -> str:
    """A time of the log (microseconds) as people write it, in UTC."""
    return datetime.fromtimestamp(at / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")


# What would move the cursor, hide text or turn it round, were it printed: control characters, and marks of direction.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """What others said, fit for a terminal."""
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def safe(text: str) -> str:
    """The same, inside of rich markup."""
    return escape(plain(text))


def short(text: str, width: int = 100) -> str:
    line = plain(" ".join(text.split()))
    return line if len(line) <= width else line[: width - 1] + "…"


def script_path(script: str | None) -> Path | None:
    return Path(script) if script else None


def thread_and_point(named: str, as_of: str | None) -> tuple[str, Point | None]:
    """`THREAD@POINT` in two; the point may be an option instead."""
    thread_id, at, point = named.partition("@")
    if at and as_of is not None:
        raise Misconfigured(f"{named} and --as-of {as_of} each name a point; name one")
    return thread_id, Point(point, f"{thread_id}@") if at else point_given(as_of)


def point_given(as_of: str | None) -> Point | None:
    return Point(as_of, "--as-of") if as_of is not None else None


def position_of(point: Point | None, reader: Reader, thread_id: str | None = None) -> int | None:
    """The position to read as of, None for now."""
    return point.position(reader, thread_id) if point is not None else None


def _refusal(answer: httpx2.Response) -> str:
    """Its words, of an answer that may be anybody's: what listens there need not be Clew."""
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code} {answer.text[:500]}"


def ask_server(url: str | None, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """What a server that runs answers, as JSON. `url` None is that of this machine."""
    import httpx2  # Most commands read the store and ask nobody.

    settings = from_environment()
    base = url or f"http://127.0.0.1:{settings.port}"
    headers = {"authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}
    try:
        answer = httpx2.request(method, f"{base}{path}", json=body, headers=headers)
    except httpx2.HTTPError as error:
        raise Misconfigured(f"no server answers at {base} ({error}); start `clew serve`, or give --url") from error
    if answer.is_error:
        raise Misconfigured(f"the server refused: {_refusal(answer)}")
    return answer.json()
