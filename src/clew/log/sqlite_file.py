"""The file of an SQLite store: whether it is ours, and who may write to it."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
import struct
from contextlib import closing
from pathlib import Path

from clew.errors import NewerStore, NoPlace, NotOurs, StoreLocked
from clew.log.migrations import newest_migration

APPLICATION_ID = int.from_bytes(b"Clew", "big")
_MAGIC = b"SQLite format 3\x00"


def refuse_strangers(path: Path, *, writing: bool) -> None:
    """Whether the file is one of ours, judged from its first bytes, so that a stranger's is not touched."""
    try:
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise NotOurs(path=str(path), why="it is a device or a pipe, which keeps nothing")
        with path.open("rb") as file:
            head = file.read(100)
    except FileNotFoundError:
        if not writing:
            raise NotOurs(path=str(path), why="there is no such file") from None
        return
    except IsADirectoryError:
        raise NotOurs(path=str(path), why="it is a folder") from None
    except PermissionError:
        raise NotOurs(path=str(path), why="it may not be read by this user") from None
    except OSError as error:
        raise NotOurs(path=str(path), why=error.strerror or str(error)) from None
    if not head:
        return
    if len(head) < 100 or head[:16] != _MAGIC:
        raise NotOurs(path=str(path), why="it is not an SQLite database")
    (version,) = struct.unpack(">I", head[60:64])
    (application,) = struct.unpack(">I", head[68:72])
    if application != APPLICATION_ID:
        raise NotOurs(path=str(path), why="it is another program's SQLite database")
    refuse_newer(str(path), version)


def refuse_newer(name: str, version: int) -> None:
    known = newest_migration()
    if version > known:
        raise NewerStore(path=name, found=version, known=known)


def sign(path: Path) -> None:
    """Makes a new file ours by its very first write, so that nobody who looks meanwhile takes it for a stranger's.

    Only the holder of the lock may call this. Left to itself, the switch to a WAL would write the first page, nameless.
    """
    if not path.exists() or path.stat().st_size == 0:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"pragma application_id = {APPLICATION_ID}")


def take_lock(path: Path) -> int:
    lock_path = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise NoPlace(path=str(path), why=error.strerror or str(error)) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(lock, 200).decode("utf-8", "replace").strip() or "unknown"
        os.close(lock)
        raise StoreLocked(path=str(path), holder=holder) from None
    os.ftruncate(lock, 0)
    os.write(lock, f"process {os.getpid()}".encode())
    return lock
