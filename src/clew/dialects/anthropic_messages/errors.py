"""What went wrong, as Anthropic would have said it: one table from the family of errors to answers.

A conflict is 400 and never 409, because the SDKs try a 409 again by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clew.errors import (
    ClewError,
    Conflict,
    KeyReused,
    Leaving,
    NoSuchPoint,
    NoSuchProvider,
    NotFound,
    PastIsReadOnly,
    Refused,
    StoreFailed,
    StoreLost,
    ThreadBusy,
    TooLarge,
)
from clew.events.content import JsonObject
from clew.serving.request_log import refusal

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """An error on the wire. `retry` tells the SDKs whether to try again by themselves; None leaves it to them.

    `is_ours`: whether a fault of this server is why.
    """

    status: int
    message: str
    details: JsonObject | None = None
    retry: bool | None = None
    is_ours: bool = True

    def body(self, request_id: str) -> JsonObject:
        error: JsonObject = {"type": _TYPES[self.status], "message": self.message}
        if self.details is not None:
            error["details"] = self.details
        return {"type": "error", "error": error, "request_id": request_id}

    @property
    def refusal(self) -> str:
        code = self.details.get("error_code") if self.details is not None else None
        return refusal(_TYPES[self.status], str(code) if code is not None else None)


class Rejected(Exception):
    """A request that is wrong in itself, or that this server does not do."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def rejected(message: str, *, status: int = 400, code: str | None = None, **details: Any) -> Rejected:
    return Rejected(Fault(status, message, details={"error_code": code, **details} if code is not None else None))


def not_offered(field: str, what: str = "") -> Rejected:
    """`field` is where the request has it."""
    return rejected(f"{field}: {what or 'this'} is not offered by this server")


_IN_FLIGHT = (
    "Another request is still continuing this thread. Wait for it to complete and continue from its response `id`, or"
    ' replay the full conversation with `thread: {"type": "create"}`.'
)


def in_flight(why: str = _IN_FLIGHT) -> Fault:
    return Fault(400, why, details={"error_code": "thread_continue_in_flight"})


def thread_not_found(message_id: str) -> Rejected:
    return rejected(
        f"No thread is held under the response {message_id}. Replay the full conversation with"
        ' `thread: {"type": "create"}`.',
        status=404,
        code="thread_not_found",
    )


def already_continued(message_id: str, newest: str | None) -> Rejected:
    there = f", which is {newest}" if newest is not None else ""
    return rejected(
        f"{message_id} has already been continued, and each response can be continued only once. Continue from the"
        f" thread's most recent response{there}.",
        code="thread_already_continued",
    )


def fingerprint_mismatch(fields: list[str]) -> Rejected:
    named = " and ".join(f"`{field}`" for field in fields)
    return rejected(
        f"{named} must be what the thread was created with. Leave out what stays the same, or replay the full"
        ' conversation with `thread: {"type": "create"}` to change it.',
        code="thread_fingerprint_mismatch",
    )


def unsupported_request(features: list[str]) -> Rejected:
    return rejected(
        f"`thread` cannot be combined with {', '.join(features)}.",
        code="thread_unsupported_request",
        unsupported=features,
    )


def _sentence(why: str) -> str:
    return f"{why[:1].upper()}{why[1:]}."


_ERRORS: dict[type[ClewError], Callable[[Any], Fault]] = {
    NotFound: lambda error: Fault(404, f"{error.noun}: {error.id}"),
    ThreadBusy: lambda error: in_flight(),
    KeyReused: lambda _: Fault(400, "idempotency-key: it was used for a request with another body; take a new one"),
    NoSuchProvider: lambda error: Fault(400, f"{error.where}: {error.asked!r} {error.why}"),
    NoSuchPoint: lambda error: Fault(400, f"{error.where}: {error.point!r} names no point. {_sentence(error.why)}"),
    PastIsReadOnly: lambda error: Fault(
        400, f"{error.where}: the past ({error.point!r}) is read-only; send what changes something without it"
    ),
    TooLarge: lambda error: Fault(413, str(error)),
    Refused: lambda error: Fault(400, str(error)),
    # Nothing of the request was kept in these two cases, so trying again duplicates nothing.
    Conflict: lambda _: Fault(500, "Internal server error", retry=True),
    StoreFailed: lambda _: Fault(500, "Internal server error", retry=True),
    StoreLost: lambda error: Fault(529, str(error)),
    Leaving: lambda error: Fault(529, str(error), retry=True, is_ours=False),
    ClewError: lambda _: Fault(500, "Internal server error"),
}


def fault_of(error: Exception) -> Fault:
    """The table's entry for the nearest of the error's classes; anything unforeseen is a fault of ours."""
    if isinstance(error, Rejected):
        return error.fault
    for ancestor in type(error).__mro__:
        if ancestor in _ERRORS:
            return _ERRORS[ancestor](error)
    return Fault(500, "Internal server error")


_RUN_FAULTS = {"rate_limit_exceeded": 429, "invalid_prompt": 400, "timeout": 504, "budget_exceeded": 429}


def of_failed_run(code: str | None, message: str | None) -> Fault:
    """A run that failed has been tried again as often as makes sense."""
    status = _RUN_FAULTS.get(code or "", 500)
    return Fault(status, message or "Internal server error", retry=False, is_ours=False)
