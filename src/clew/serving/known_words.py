"""The words that requests to Clew are made of, in paths and in bodies. Those of a client's own are `*` in the log."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from functools import cache

from pydantic import BaseModel
from starlette.routing import BaseRoute

HIDDEN = "*"
_PARTS_MAX = 20
# Ids as Clew makes them, what stands for a place in an answer behind them, positions and versions.
_KINDS = [
    "ag",
    "asst",
    "call",
    "conv",
    "exec",
    "fc",
    "fr",
    "handoff",
    "mc",
    "msg",
    "req",
    "rs",
    "run",
    "step",
    "sum",
    "thread",
    "toolu",
]
_ID = re.compile(r"(?:{})_[0-9A-Za-z]{{24}}(?:v?[0-9]{{1,9}})?|v?[0-9]{{1,9}}".format("|".join(_KINDS)))
# Parts of paths that this server does not have, but its clients, browsers and machines often ask for.
_ASKED_ELSEWHERE = frozenset(
    [
        "api",
        "audio",
        "batches",
        "chat",
        "completions",
        "containers",
        "count_tokens",
        "docs",
        "embeddings",
        "favicon.ico",
        "fine_tuning",
        "images",
        "index.html",
        "jobs",
        "libraries",
        "metrics",
        "moderations",
        "ocr",
        "openapi.json",
        "organization",
        "realtime",
        "responses",
        "robots.txt",
        "v2",
    ]
)
# Parameters of queries and headers, and what the parts of a request are called.
PARAMETERS = frozenset(
    [
        "Clew-As-Of",
        "a",
        "after",
        "agent_id",
        "agent_version",
        "alias",
        "as_of",
        "authorization",
        "b",
        "tag",
        "assistant",
        "assistant_id",
        "before",
        "body",
        "cost",
        "csv",
        "days",
        "format",
        "from",
        "group_by",
        "header",
        "idempotency-key",
        "include",
        "label",
        "last-event-id",
        "limit",
        "message_id",
        "metadata",
        "model",
        "name",
        "new",
        "old",
        "order",
        "page",
        "page_size",
        "path",
        "position",
        "previews",
        "prices",
        "provider",
        "query",
        "reached",
        "run_id",
        "say",
        "settle",
        "since",
        "size",
        "starting_after",
        "step_id",
        "subject",
        "tenant",
        "thread",
        "thread_id",
        "to",
        "tool_call_id",
        "truncation",
        "until",
        "version",
    ]
)
_TOKEN = re.compile(r"[^.\[\]]+")
_PLACE = re.compile(r"[\w.\[\]*-]{1,100}", re.ASCII)
_INDEX = re.compile(r"[0-9]{1,6}")


def words_of(routes: Iterable[BaseRoute]) -> frozenset[str]:
    """The parts that paths of these routes have, whatever is asked for there."""
    found = {part for path in _paths(routes) for part in path.split("/") if "{" not in part}
    return _ASKED_ELSEWHERE | found


def shown_path(path: bytes, words: frozenset[str]) -> str:
    parts = path.decode("latin-1").split("/", _PARTS_MAX)
    return "/".join([part if part in words or _ID.fullmatch(part) else HIDDEN for part in parts])


def shown_place(place: str) -> str:
    """Where a request is wrong: `metadata.*` where it is a client's own key."""
    shown = _TOKEN.sub(lambda token: token[0] if token[0] in _names() or _INDEX.fullmatch(token[0]) else HIDDEN, place)
    return shown if _PLACE.fullmatch(shown) else "?"


def _paths(routes: Iterable[BaseRoute]) -> Iterator[str]:
    for route in routes:
        yield getattr(route, "path", "")
        yield from _paths(getattr(route, "routes", None) or ())


@cache
def _names() -> frozenset[str]:
    """What the fields of all that can be sent are called."""
    found = set(PARAMETERS)
    left: list[type[BaseModel]] = [BaseModel]
    while left:
        model = left.pop()
        left += model.__subclasses__()
        if model.__module__.startswith("clew.") and not inspect.isabstract(model):
            for name, field in model.model_fields.items():
                found |= {name, *(given for given in (field.alias, field.validation_alias) if isinstance(given, str))}
    return frozenset(found)
