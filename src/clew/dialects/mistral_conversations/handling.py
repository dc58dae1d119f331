"""How Mistral's API puts what goes wrong before, in and after an endpoint."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from clew.dialects.mistral_conversations import identifiers
from clew.dialects.mistral_conversations.errors import Fault, Loc, Rejected, fault_of, rejected, wrong
from clew.events.content import JsonObject
from clew.serving.http import Answer, Call, Manners

DIALECT = "mistral"
# The most that are told of at once: a long list of wrong things is not read.
_FAULTS_MAX = 10


class MistralManners(Manners):
    dialect = DIALECT

    def to_answer(self, error: Exception, call: Call) -> Answer:
        fault = fault_of(error)
        return Answer(fault.body, fault.status, refusal=fault.refusal)

    def rejection(self, error: ValidationError) -> Exception:
        found = error.errors(include_url=False, include_context=False, include_input=False)[:_FAULTS_MAX]
        detail = tuple(_told(one) for one in found)
        return Rejected(Fault(422, str(detail[0]["msg"]), detail=detail))

    def not_json(self) -> Exception:
        return wrong(("body",), "The body is not valid JSON.", "json_invalid")

    def too_large_a_body(self, limit_bytes: int) -> Exception:
        message = f"The body is too large. At most {limit_bytes} bytes are accepted."
        return rejected(413, message, "invalid_request_error", "request_too_large")

    def unknown_url(self, method: str, path: str) -> Exception:
        message = f"There is no {method} {path} here. Conversations and agents are what this server has of this API."
        return rejected(404, message, "not_found", "unknown_url")

    def wrong_key(self, presented: str | None) -> Exception:
        missing = "Unauthorized: send your key as `Authorization: Bearer KEY`."
        return rejected(401, missing if presented is None else "Unauthorized: the key is wrong.", "unauthorized")

    def checked_id(self, name: str, value: str) -> str:
        if name == "conversation_id":
            return identifiers.thread_id(value)
        return identifiers.assistant_id(value)

    def thread_id(self, call: Call) -> str | None:
        return call.id("conversation_id") if "conversation_id" in call.scope["path_params"] else None


def _told(fault: Any) -> JsonObject:
    # Tags of unions, in angle brackets, are no places in a body.
    loc: Loc = ("body", *(step for step in fault["loc"] if not (isinstance(step, str) and step.startswith("<"))))
    return {"loc": list(loc), "msg": fault["msg"], "type": fault["type"]}
