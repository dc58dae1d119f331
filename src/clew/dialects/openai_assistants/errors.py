"""What went wrong, as OpenAI would have said it: one table from the family of errors to answers.

Clients match these texts with patterns and branch on the codes, so both are kept to the letter where OpenAI's own
wording is known. A lock is 400 and never 409, because the SDKs try a 409 again by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clew.errors import (
    ClewError,
    Conflict,
    KeyReused,
    NoSuchPoint,
    NoSuchProvider,
    NoSuchStrategy,
    NotFound,
    NothingToRun,
    OutputsIncomplete,
    OutputsNotExpected,
    PastIsReadOnly,
    Refused,
    RunEnded,
    RunUnderWay,
    StoreFailed,
    StoreLost,
    ThreadBusy,
    TooLarge,
)
from clew.events.content import JsonObject
from clew.serving.request_log import refusal

INVALID = "invalid_request_error"
_SORRY = "The server had an error processing your request. Sorry about that! You can retry your request."


@dataclass(frozen=True, slots=True)
class Fault:
    """An error on the wire. `retry` tells the SDKs whether to try again by themselves; None leaves it to them."""

    status: int
    message: str
    type: str = INVALID
    param: str | None = None
    code: str | None = None
    retry: bool | None = None

    @property
    def body(self) -> JsonObject:
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    @property
    def refusal(self) -> str:
        return refusal(self.type, self.code, self.param)


class Rejected(Exception):
    """A request that is wrong in itself, whatever state things are in."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def rejected(message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> Rejected:
    return Rejected(Fault(status, message, param=param, code=code))


def _refused(message: Callable[[Any], str], code: str | None = None, status: int = 400) -> Callable[[Any], Fault]:
    return lambda error: Fault(status, message(error), code=code)


def _busy(error: ThreadBusy) -> str:
    if error.wish == "run":
        return f"Thread {error.thread_id} already has an active run {error.run_id}."
    return f"Can't add messages to {error.thread_id} while a run {error.run_id} is active."


def _missing_outputs(error: OutputsIncomplete) -> str:
    return f"Expected tool outputs for call_ids {list(error.expected)}, got {list(error.given)}"


def _no_point(error: NoSuchPoint) -> Fault:
    return Fault(
        400,
        f"Invalid '{error.where}': '{error.point}'. {_sentence(error.why)}",
        param=error.where,
        code="invalid_value",
    )


def _no_strategy(error: NoSuchStrategy) -> Fault:
    message = f"Invalid '{error.where}': '{error.written}'. {_sentence(error.why)}"
    return Fault(400, message, param=error.where, code="invalid_value")


def _no_provider(error: NoSuchProvider) -> Fault:
    message = f"Invalid '{error.where}': '{error.asked}' {error.why}."
    return Fault(400, message, param=error.where, code="provider_not_configured")


def _past_is_read_only(error: PastIsReadOnly) -> Fault:
    message = (
        f"The past is read-only: '{error.where}' of this request is '{error.point}'."
        " Send what changes something without it."
    )
    return Fault(400, message, param=error.where, code="past_is_read_only")


def _sentence(why: str) -> str:
    """A name with `_` in it stays as it is written."""
    if "_" in why.partition(" ")[0]:
        return f"{why}."
    return f"{why[:1].upper()}{why[1:]}."


_ERRORS: dict[type[ClewError], Callable[[Any], Fault]] = {
    NotFound: _refused(lambda error: f"No {error.noun} found with id '{error.id}'.", status=404),
    ThreadBusy: _refused(_busy),
    NothingToRun: _refused(
        lambda _: "Run creation requires a Thread with a user message or an assistant with instructions.",
        code="invalid_thread",
    ),
    OutputsNotExpected: _refused(lambda error: f'Runs in status "{error.status}" do not accept tool outputs.'),
    OutputsIncomplete: _refused(_missing_outputs),
    RunEnded: _refused(lambda error: f"Cannot cancel run with status '{error.status}'."),
    RunUnderWay: _refused(lambda error: f"Cannot update run with status '{error.status}'."),
    KeyReused: _refused(
        lambda _: "This Idempotency-Key was used for a request with another body. Use a new key for a new request.",
        code="idempotency_key_reused",
    ),
    NoSuchPoint: _no_point,
    NoSuchStrategy: _no_strategy,
    NoSuchProvider: _no_provider,
    PastIsReadOnly: _past_is_read_only,
    TooLarge: _refused(str, code="request_too_large", status=413),
    Refused: _refused(str),
    # Nothing of the request was kept in these two cases, so trying again duplicates nothing.
    Conflict: lambda _: Fault(500, _SORRY, "server_error", retry=True),
    StoreFailed: lambda _: Fault(500, _SORRY, "server_error", retry=True),
    StoreLost: lambda error: Fault(503, str(error), "server_error"),
    ClewError: lambda _: Fault(500, _SORRY, "server_error"),
}


def fault_of(error: Exception) -> Fault:
    """The table's entry for the nearest of the error's classes; anything unforeseen is a fault of ours."""
    if isinstance(error, Rejected):
        return error.fault
    for ancestor in type(error).__mro__:
        if ancestor in _ERRORS:
            return _ERRORS[ancestor](error)
    return Fault(500, _SORRY, "server_error")


def unknown_url(method: str, path: str) -> Rejected:
    return rejected(f"Invalid URL ({method} {path})", status=404)


def wrong_id(name: str, value: str, prefix: str) -> Rejected:
    message = f"Invalid '{name}': '{value}'. Expected an ID that begins with '{prefix}'."
    return rejected(message, param=name, code="invalid_value")


def missing(name: str) -> Rejected:
    return rejected(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")


def not_offered(what: str, param: str | None = None) -> Rejected:
    return rejected(f"This server does not offer {what} yet.", param=param, code="unsupported_value")


def no_such_file(file_id: str, param: str) -> Rejected:
    return rejected(f"No file found with id '{file_id}'.", param=param)


def not_json() -> Rejected:
    return rejected(
        "Invalid body: failed to parse JSON value. Please check the value to ensure it is valid JSON. (Common errors"
        " include trailing commas, missing closing brackets, missing quotation marks, etc.)",
        code="invalid_json",
    )


def too_large_a_body(limit_bytes: int) -> Rejected:
    return rejected(
        f"Request body too large. At most {limit_bytes} bytes are accepted.", code="request_too_large", status=413
    )


def wrong_key(presented: str | None) -> Rejected:
    if presented is None:
        return rejected(
            "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer"
            " auth (i.e. Authorization: Bearer YOUR_KEY).",
            status=401,
        )
    # A short key would be shown whole by its ends.
    shown = f"{presented[:3]}…{presented[-4:]}" if len(presented) >= 16 else "…"
    return rejected(
        f"Incorrect API key provided: {shown}. You can find your API key at"
        " https://platform.openai.com/account/api-keys.",
        code="invalid_api_key",
        status=401,
    )
