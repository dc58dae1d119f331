"""Which store a name means."""

from __future__ import annotations

from pathlib import Path

from clew.log.sqlite import SqliteStore
from clew.log.store import Store


def open_store(name: str, *, writing: bool = True) -> Store:
    """`name` is a path, `sqlite:///path`, `:memory:`, or `postgresql://user@host/database`. Raises `Unusable`."""
    if is_postgres(name):
        from clew.log.postgres import PostgresStore  # Loading the driver takes a tenth of a second.

        return PostgresStore(name, writing=writing)
    if name == ":memory:":
        return SqliteStore(None)
    return SqliteStore(Path(name.removeprefix("sqlite:///")).expanduser(), writing=writing)


def is_postgres(name: str) -> bool:
    return name.startswith(("postgresql://", "postgres://"))


def shown(name: str) -> str:
    """What people are told of a store: no password."""
    if not is_postgres(name):
        return name
    from clew.log.postgres import shown as without_password

    return without_password(name)
