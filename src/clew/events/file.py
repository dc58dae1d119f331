"""What can happen to an uploaded file. Its bytes are kept beside the log, under their hash."""

from __future__ import annotations

from typing import ClassVar, TypeAlias

from clew.events.base import Event


class FileAdded(Event):
    kind: ClassVar[str] = "file.added"

    file_id: str
    tenant: str
    filename: str
    purpose: str
    bytes: int
    sha256: str


class FileDeleted(Event):
    kind: ClassVar[str] = "file.deleted"

    file_id: str
    by: str | None = None


FileEvent: TypeAlias = FileAdded | FileDeleted
