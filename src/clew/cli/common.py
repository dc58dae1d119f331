"""What the commands share: options, opening a log to read, and telling times."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

from clew.log import Log, Reader, open_store
from clew.settings import from_environment

StoreOption = Annotated[
    str | None, typer.Option("--store", help="A file, or sqlite:///path. Else CLEW_STORE, else the user's data folder.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

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
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str).decode() + "\n")


def clock(at: int) -> str:
    """A time of the log (microseconds) as people write it, in UTC."""
    return datetime.fromtimestamp(at / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def short(text: str, width: int = 100) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def script_path(script: str | None) -> Path | None:
    return Path(script) if script else None
