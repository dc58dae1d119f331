"""Proofs over HTTP: the newest signed checkpoint, and that an event or an older checkpoint is beneath it.

A client needs no trust in this server: it keeps checkpoints, and verifies each proof against them (RFC 9162, 2.1.3.2
and 2.1.4.2; `clew.proof.merkle` has both). Hashes are in base64.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated

from fastapi import FastAPI, Query
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from clew.engine.engine import Engine
from clew.errors import NotCovered
from clew.proof.tree import consistency, inclusion, newest_note

# What PostgreSQL's and SQLite's integers hold.
_POSITION_MAX = 2**63 - 1
Position = Annotated[int, Query(ge=1, le=_POSITION_MAX)]
Size = Annotated[int, Query(ge=0, le=_POSITION_MAX)]


class Inclusion(BaseModel):
    """The leaf at index `position - 1` of the tree of `size` leaves. `leaf` is SHA-256(0x00, hash of the event)."""

    position: int
    size: int
    leaf: str
    proof: list[str]


class Consistency(BaseModel):
    """That the first `old` leaves of the tree of `new` are the tree that was signed at that size."""

    old: int
    new: int
    proof: list[str]


def add_proofs(app: FastAPI, engine: Engine) -> None:
    @app.get(
        "/log/checkpoint",
        summary="The newest signed checkpoint",
        description="A C2SP signed note: origin, size, root, an empty line, the signature. Keep it elsewhere.",
        response_class=PlainTextResponse,
    )
    async def checkpoint() -> PlainTextResponse:
        with engine.log.reading() as reader:
            note = newest_note(reader)
        if note is None:
            raise NotCovered(size=1, covered=0)
        return PlainTextResponse(note, headers={"cache-control": "no-cache"})

    @app.get("/log/proof/inclusion", summary="That an event is beneath a root that was signed")
    async def prove_inclusion(position: Position, size: Size | None = None) -> Inclusion:
        with engine.log.reading() as reader:
            of, leaf, proof = inclusion(reader, position, size)
        return Inclusion(position=position, size=of, leaf=_in_base64(leaf), proof=_all_in_base64(proof))

    @app.get("/log/proof/consistency", summary="That one checkpoint extends another")
    async def prove_consistency(
        old: Annotated[int, Query(alias="from", ge=0, le=_POSITION_MAX)],
        new: Annotated[int | None, Query(alias="to", ge=0, le=_POSITION_MAX)] = None,
    ) -> Consistency:
        with engine.log.reading() as reader:
            of, proof = consistency(reader, old, new)
        return Consistency(old=old, new=of, proof=_all_in_base64(proof))


def _in_base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _all_in_base64(values: Sequence[bytes]) -> list[str]:
    return [_in_base64(value) for value in values]
