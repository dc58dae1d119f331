"""How OpenAI's API puts what goes wrong before, in and after an endpoint, and the headers it sends."""

from __future__ import annotations

import time

from pydantic import ValidationError

from clew.dialects.openai_assistants import errors
from clew.dialects.openai_assistants.errors import Fault, fault_of, wrong_id
from clew.dialects.openai_assistants.wrong import rejection
from clew.ids import has_prefix
from clew.serving.http import Answer, Call, Header, Manners

# How ids of each kind begin, by the name that the kind has in paths and bodies.
PREFIXES = {"assistant_id": "asst", "thread_id": "thread", "message_id": "msg", "run_id": "run", "step_id": "step"}


def checked_id(name: str, value: str, kind: str | None = None) -> str:
    """`value` if it has the form of the ids of `kind`, which is `name` unless given. Raises `Rejected`."""
    prefix = PREFIXES[kind or name]
    if not has_prefix(value, prefix):
        raise wrong_id(name, value, prefix)
    return value


class OpenAIManners(Manners):
    dialect = "openai"

    def to_answer(self, error: Exception, call: Call) -> Answer:
        fault = fault_of(error)
        repeatable = b"idempotency-key" in call.headers
        headers = _retry_headers(fault, call.scope["method"], repeatable)
        return Answer(fault.body, fault.status, headers, fault.refusal)

    def rejection(self, error: ValidationError) -> Exception:
        return rejection(error)

    def not_json(self) -> Exception:
        return errors.not_json()

    def too_large_a_body(self, limit_bytes: int) -> Exception:
        return errors.too_large_a_body(limit_bytes)

    def unknown_url(self, method: str, path: str) -> Exception:
        return errors.unknown_url(method, path)

    def wrong_key(self, presented: str | None) -> Exception:
        return errors.wrong_key(presented)

    def checked_id(self, name: str, value: str) -> str:
        return checked_id(name, value)

    def headers(self, request_id: bytes, started: float) -> tuple[Header, ...]:
        return (
            (b"x-request-id", request_id),
            (b"openai-version", b"2020-10-01"),
            (b"openai-processing-ms", b"%d" % ((time.perf_counter() - started) * 1000)),
        )


def _retry_headers(fault: Fault, method: str, repeatable: bool) -> tuple[Header, ...]:
    retry = fault.retry
    if retry is None and fault.status >= 500 and method == "POST":
        # What was asked for may have happened before the fault, and would happen twice without a key.
        retry = repeatable
    if retry is None:
        return ()
    return ((b"x-should-retry", b"true" if retry else b"false"),)
