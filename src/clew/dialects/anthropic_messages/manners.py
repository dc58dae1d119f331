"""How Anthropic's API puts what goes wrong before, in and after an endpoint, and the headers it sends."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError

from clew.dialects.anthropic_messages.errors import Fault, fault_of, rejected
from clew.errors import NotFound
from clew.ids import has_prefix
from clew.serving.http import Answer, Call, Header, Manners

DIALECT = "anthropic"
# How ids of each kind begin, by the name that the kind has in paths.
_PREFIXES = {"thread_id": "thread", "message_id": "msg"}
_NOUNS = {"thread_id": "thread", "message_id": "message"}
_BODY_BYTES_MAX = 32 * 1024 * 1024


class AnthropicManners(Manners):
    dialect = DIALECT
    # The whole history comes with each request, and pictures in it.
    body_bytes_max = _BODY_BYTES_MAX

    def to_answer(self, error: Exception, call: Call) -> Answer:
        fault = fault_of(error)
        repeatable = b"idempotency-key" in call.headers
        headers = _retry_headers(fault, call.scope["method"], repeatable)
        body = fault.body(call.request_id.decode())
        return Answer(body, fault.status, headers, fault.refusal, is_ours=fault.is_ours)

    def rejection(self, error: ValidationError) -> Exception:
        """One fault is told of at a time: the first."""
        fault = error.errors(include_url=False, include_context=False)[0]
        return rejected(f"{name_of(fault['loc']) or 'body'}: {_put(fault)}")

    def not_json(self) -> Exception:
        return rejected("The request body is not valid JSON.")

    def too_large_a_body(self, limit_bytes: int) -> Exception:
        return rejected(f"Request exceeds the maximum size of {limit_bytes} bytes.", status=413)

    def unknown_url(self, method: str, path: str) -> Exception:
        return rejected(f"{method} {path} is not offered by this server.", status=404)

    def wrong_key(self, presented: str | None) -> Exception:
        message = "x-api-key header is required" if presented is None else "invalid x-api-key"
        return rejected(message, status=401)

    def checked_id(self, name: str, value: str) -> str:
        if not has_prefix(value, _PREFIXES[name]):
            raise NotFound(noun=_NOUNS[name], id=value)
        return value

    def presented_key(self, headers: dict[bytes, bytes]) -> bytes | None:
        """The newer SDKs send it as a bearer token, the older ones in a header of its own."""
        return super().presented_key(headers) or headers.get(b"x-api-key", b"").strip() or None

    def only_reads(self, call: Call) -> bool:
        return super().only_reads(call) or call.scope["path"].endswith("/count_tokens")

    def headers(self, request_id: bytes, started: float) -> tuple[Header, ...]:
        return ((b"request-id", request_id),)


def name_of(loc: tuple[int | str, ...]) -> str:
    """Where it is, written `messages.0.content.1.text`. Tags of ours, in angle brackets, are no places."""
    return ".".join(str(step) for step in loc if not (isinstance(step, str) and step.startswith("<")))


def _put(fault: Any) -> str:
    if fault["type"] == "union_tag_not_found" and not isinstance(fault["input"], dict):
        return "Input should be a valid string or list of blocks"
    if fault["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return re.sub(r"'?<(\w+)>'?", r"\1", fault["msg"])
    message: str = fault["msg"]
    return message


def _retry_headers(fault: Fault, method: str, repeatable: bool) -> tuple[Header, ...]:
    retry = fault.retry
    if retry is None and fault.status >= 500 and method == "POST":
        # What was asked for may have happened before the fault, and would happen twice without a key.
        retry = repeatable
    if retry is None:
        return ()
    return ((b"x-should-retry", b"true" if retry else b"false"),)
