"""What is sent twice is done once: the key of a request, if it has one."""

from __future__ import annotations

import hashlib

from fastapi import Request

from clew.desk import Key


async def key_of(request: Request, idempotency_key: str | None) -> Key | None:
    if idempotency_key is None:
        return None
    fingerprint = hashlib.sha256(await request.body()).digest()
    return Key(f"clew {request.method} {request.url.path} {idempotency_key}", fingerprint)
