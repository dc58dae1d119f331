"""Uploaded files, as far as messages name them: by then a file must be there."""

from __future__ import annotations

from clew.errors import NotFound
from clew.events.content import Content, File, Image


def file_exists(file_id: str) -> bool:
    """No files can be uploaded yet, so there is none of any id."""
    return False


def check_files(content: Content) -> None:
    """Raises `NotFound`."""
    for part in content:
        if isinstance(part, (Image, File)) and part.file_id is not None and not file_exists(part.file_id):
            raise NotFound(noun="file", id=part.file_id)
