"""What went wrong, as Mistral's API says it: one table from the family of errors to answers.

A body or a parameter that is wrong in itself is 422, with a list of what is wrong and where; the SDK insists on the
list. Everything else is an object with a message. A model that did not answer is 424: what was asked is in the
conversation then, and the SDK, where it was told to try again, would put it there twice after a 429 or a 502.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from clew.dialects.mistral_conversations.identifiers import public_id
from clew.errors import (
    CallsUnanswered,
    ClewError,
    Conflict,
    KeyReused,
    Leaving,
    NoSuchPoint,
    NoSuchProvider,
    NoSuchVersion,
    NotFound,
    NothingToConfirm,
    NothingToRun,
    OutputsIncomplete,
    OutputsNotExpected,
    PastIsReadOnly,
    Refused,
    StoreFailed,
    StoreLost,
    ThreadBusy,
    TooLarge,
)
from clew.events.content import JsonObject
from clew.serving.request_log import refusal
from clew_projections.run_view import RunView

_SORRY = "The server had an error while processing this request."
_NOUNS = {"thread": "conversation", "assistant": "agent", "message": "entry"}

Loc: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """An error on the wire. `detail` makes it one of validation, which has no other fields."""

    status: int
    message: str
    type: str = "invalid_request_error"
    code: str | None = None
    detail: tuple[JsonObject, ...] = ()

    @property
    def body(self) -> JsonObject:
        if self.detail:
            return {"detail": list(self.detail)}
        return {"object": "error", "message": self.message, "type": self.type, "param": None, "code": self.code}

    @property
    def refusal(self) -> str:
        if not self.detail:
            return refusal(self.type, self.code)
        first: Any = self.detail[0]
        return refusal(str(first["type"]), place=".".join(map(str, first["loc"])))


class Rejected(Exception):
    """A request that is wrong in itself, whatever state things are in."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def rejected(status: int, message: str, type: str, code: str | None = None) -> Rejected:
    return Rejected(Fault(status, message, type, code))


def wrong(loc: Loc, message: str, type: str = "value_error") -> Rejected:
    """One fault at one place."""
    return Rejected(Fault(422, message, detail=({"loc": list(loc), "msg": message, "type": type},)))


def not_offered(what: str, *loc: str | int) -> Rejected:
    return wrong(loc, f"This server does not offer {what}.", "not_offered")


def _said(
    status: int, type: str, message: Callable[[Any], str] = str, code: str | None = None
) -> Callable[[Any], Fault]:
    return lambda error: Fault(status, message(error), type, code)


def _not_found(error: NotFound) -> Fault:
    noun = _NOUNS.get(error.noun, error.noun)
    return Fault(404, f"No {noun} has the id {public_id(error.id)!r}.", "not_found", f"{noun}_not_found")


def _no_version(error: NoSuchVersion) -> Fault:
    newest = error.versions - 1
    message = f"Agent {public_id(error.assistant_id)} has no version {error.version - 1}; its newest is {newest}."
    return Fault(404, message, "not_found", "version_not_found")


def _busy(error: ThreadBusy) -> str:
    return (
        f"Conversation {public_id(error.thread_id)} is being answered already; wait for its end, which"
        " the stream of its events tells."
    )


def _unanswered(error: CallsUnanswered) -> str:
    calls = ", ".join(error.tool_call_ids)
    return (
        f"Conversation {public_id(error.thread_id)} waits for the results of function calls, or for their confirmation:"
        f" {calls}. Append these, all at once, before anything else."
    )


def _incomplete(error: OutputsIncomplete) -> str:
    return (
        f"Expected a result or a confirmation for each of {list(error.expected)}, all at once; got {list(error.given)}."
    )


_ERRORS: dict[type[ClewError], Callable[[Any], Fault]] = {
    NoSuchVersion: _no_version,
    NotFound: _not_found,
    CallsUnanswered: _said(400, "invalid_request_error", _unanswered, "function_calls_unanswered"),
    ThreadBusy: _said(409, "conflict", _busy, "conversation_busy"),
    NothingToRun: _said(
        400,
        "invalid_request_error",
        lambda _: "There is nothing to answer: give an input of the user's, or instructions.",
        "nothing_to_answer",
    ),
    OutputsNotExpected: _said(
        400,
        "invalid_request_error",
        lambda _: "No function call waits for a result or a confirmation in this conversation.",
        "no_function_call_waits",
    ),
    OutputsIncomplete: _said(400, "invalid_request_error", _incomplete, "function_results_incomplete"),
    NothingToConfirm: _said(
        400,
        "invalid_request_error",
        lambda error: f"Nobody needs to confirm {list(error.tool_call_ids)}: append their results instead.",
        "nothing_to_confirm",
    ),
    KeyReused: _said(
        400,
        "invalid_request_error",
        lambda _: "This Idempotency-Key was used for a request with another body. Use a new key for a new request.",
        "idempotency_key_reused",
    ),
    NoSuchProvider: _said(400, "invalid_request_error", code="provider_not_configured"),
    NoSuchPoint: _said(400, "invalid_request_error", code="no_such_point"),
    PastIsReadOnly: _said(400, "invalid_request_error", code="past_is_read_only"),
    TooLarge: _said(413, "invalid_request_error", code="request_too_large"),
    Refused: _said(400, "invalid_request_error"),
    # Nothing of the request was kept in these two cases, so trying again duplicates nothing.
    Conflict: _said(503, "server_error", lambda _: _SORRY, "conflict"),
    StoreFailed: _said(503, "server_error", lambda _: _SORRY, "store_failed"),
    # It may have been kept. The message says what to do about that.
    StoreLost: _said(503, "server_error", code="store_lost"),
    Leaving: _said(
        409,
        "conflict",
        lambda _: "This server ends before the answer is whole. It goes on all the same: read the conversation.",
        "server_leaving",
    ),
}


def fault_of(error: Exception) -> Fault:
    """The table's entry for the nearest of the error's classes; anything unforeseen is a fault of ours."""
    if isinstance(error, Rejected):
        return error.fault
    for ancestor in type(error).__mro__:
        if ancestor in _ERRORS:
            return _ERRORS[ancestor](error)
    return Fault(500, _SORRY, "server_error")


_KEPT = "What was appended is in the conversation: append without inputs to have it answered again."


def fault_of_run(run: RunView) -> Fault | None:
    """Why there is no whole answer; None when there is one, or the client is to go on."""
    match run.status:
        case "failed":
            status = 400 if run.error_code == "invalid_prompt" else 424
            message = f"The model did not answer: {run.error_message} {_KEPT}"
            return Fault(status, message, "model_call_failed", run.error_code)
        case "cancelled":
            return Fault(409, "Somebody cancelled the answer.", "conflict", "run_cancelled")
        case "expired":
            return Fault(408, f"The time for the answer is over. {_KEPT}", "timeout", "run_expired")
        case "incomplete" if run.incomplete_reason != "max_completion_tokens":
            return Fault(424, f"A limit was reached: {run.incomplete_reason}. {_KEPT}", "limit", run.incomplete_reason)
        case _ if run.in_doubt:
            calls = ", ".join(run.in_doubt)
            message = (
                f"Nobody knows whether {calls} happened. Once that is settled (`clew settle`), the answer goes on."
            )
            return Fault(409, message, "conflict", "tool_in_doubt")
        case _:
            return None
