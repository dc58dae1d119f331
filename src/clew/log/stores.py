"""Which store a name means."""

from __future__ import annotations

from pathlib import Path

from clew.errors import Misconfigured
from clew.log.sqlite import SqliteStore
from clew.log.store import Store


def open_store(name: str, *, writing: bool = True) -> Store:
    """`name` is a path, `sqlite:///path`, `:memory:`, or `postgresql://user@host/database`.

    Raises `Unusable`, and `Misconfigured` for what is none of these.
    """
    if is_postgres(name):
        from clew.log.postgres import PostgresStore  # Loading the driver takes a tenth of a second.

        return PostgresStore(name, writing=writing)
    if name == ":memory:":
        return SqliteStore(None)
    path = name.removeprefix("sqlite:///")
    scheme, marked, _ = path.partition("://")
    if marked:
        # As a path it would be made, password and all; so no more of it is shown either.
        raise Misconfigured(
            f"--store begins with {scheme}://, which names no store of Clew's;"
            " write a path, sqlite:///path, or postgresql://user:password@host:port/database"
        )
    return SqliteStore(Path(path).expanduser(), writing=writing)


def is_postgres(name: str) -> bool:
    return name.startswith(("postgresql://", "postgres://"))


def shown(name: str) -> str:
    """What people are told of a store: no password."""
    if not is_postgres(name):
        return name
    from clew.log.postgres import shown as without_password

    return without_password(name)
