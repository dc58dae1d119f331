"""What can happen to an API key. The secret itself is never in an event."""

from __future__ import annotations

from typing import ClassVar, TypeAlias

from clew.events.base import Event


class KeyIssued(Event):
    """`digest` is the keyed hash that a presented secret is compared with; `expires_at` in microseconds."""

    kind: ClassVar[str] = "key.issued"

    key_id: str
    tenant: str
    scopes: tuple[str, ...]
    digest: str
    expires_at: int | None = None


class KeyRevoked(Event):
    kind: ClassVar[str] = "key.revoked"

    key_id: str
    by: str | None = None


KeyEvent: TypeAlias = KeyIssued | KeyRevoked
