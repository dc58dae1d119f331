"""Pictures and files as blocks of Anthropic's API. A part of the renderer `anthropic-messages/1`: never changed.

What cannot be shown is told to the model, so that it does not speak of what it has not seen.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from clew.events.content import File, Image

_IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_DATA_URL = re.compile(r"data:([^;,]+);base64,(.*)", re.DOTALL)


def not_shown(what: str, name: str | None) -> dict[str, Any]:
    return {"type": "text", "text": f"[{what} {name or 'without a name'} is not shown]"}


def image_block(image: Image) -> dict[str, Any]:
    media_type, data = image.media_type or "image/png", image.data
    if image.url is not None:
        inline = _DATA_URL.fullmatch(image.url)
        if inline is None:
            return {"type": "image", "source": {"type": "url", "url": image.url}}
        media_type, data = inline[1], inline[2]
    if data is None or media_type not in _IMAGE_TYPES:
        return not_shown("image", image.file_id)
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}


def file_block(file: File) -> dict[str, Any]:
    source = _source(file)
    if source is None:
        return not_shown("file", file.filename or file.file_id)
    block: dict[str, Any] = {"type": "document", "source": source}
    if file.filename is not None:
        block["title"] = file.filename
    return block


def _source(file: File) -> dict[str, Any] | None:
    """PDF as it is, plain text as text; nothing else is read."""
    if file.data is None:
        return None
    if file.media_type == "application/pdf":
        return {"type": "base64", "media_type": "application/pdf", "data": file.data}
    if file.media_type != "text/plain":
        return None
    try:
        text = base64.b64decode(file.data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return {"type": "text", "media_type": "text/plain", "data": text}
