"""A provider that plays real agent conversations back over Mistral's chat completions, plain and streamed.

    python -m tests.rigs.upstream_mistral --port 9913
    python -m tests.rigs.upstream_mistral --port 9913 --think --fail-every 7 --cut-stream-every 11 --delay-ms 20

A request that Mistral would refuse gets 400 or 422 with the reason. With `--think` the content of each answer is a
list that begins with a chunk of thinking; thinking that comes back must be what was sent.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from tests.rigs.recorded import Exchange, Refused, event, parser, serve
from tests.rigs.valid_mistral import fault_of


def call_id(recorded: str, place: int) -> str:
    """The id under which this provider makes a call that was recorded under another, in the message at `place`.

    It is nine letters and digits. Recorded ids come again in other messages; those of Mistral do not.
    """
    return hashlib.sha256(f"{recorded} {place}".encode()).hexdigest()[:9]


class Mistral:
    path = "/v1/chat/completions"

    def __init__(self, *, thinks: bool = False) -> None:
        self._thinks = thinks
        self._thought: set[bytes] = set()

    def check(self, body: dict[str, Any], headers: Mapping[str, str]) -> None:
        if not headers.get("authorization", "").startswith("Bearer "):
            raise Refused(401, {"detail": "Unauthorized"}, "no key")
        fault = fault_of(body)
        if fault is not None:
            status, why = fault
            detail = {"detail": [{"loc": ["body"], "msg": why, "type": "value_error"}]}
            raise Refused(status, detail if status == 422 else self.error(400, why), why)
        for message in body["messages"]:
            for chunk in message["content"] if isinstance(message["content"], list) else ():
                if chunk["type"] == "thinking" and orjson.dumps(chunk) not in self._thought:
                    raise Refused(400, self.error(400, "thinking that nobody thought"), "thinking that nobody thought")

    def error(self, status: int, message: str) -> Any:
        kind = "rate_limited" if status == 429 else "invalid_request_message_order" if status == 400 else "internal"
        return {"object": "error", "message": message, "type": kind, "param": None, "code": "3230"}

    def history(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """In OpenAI's format, which Mistral's is."""
        return [{**message, "content": _said(message.get("content"))} for message in body["messages"]]

    def usage(self, body: dict[str, Any], reply: dict[str, Any]) -> dict[str, Any]:
        prompt, completion = _tokens(body["messages"]), _tokens(reply)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "num_cached_tokens": prompt // 2,
            "prompt_tokens_details": {"cached_tokens": prompt // 2},
        }

    def whole(self, exchange: Exchange) -> Any:
        content: Any = exchange.reply["content"] or ""
        if self._thinks:
            text = [{"type": "text", "text": content}] if content else []
            content = [*self._thoughts(exchange.digest), *text]
        message = {"role": "assistant", "content": content, "tool_calls": _calls(exchange) or None, "prefix": False}
        choice = {"index": 0, "message": message, "finish_reason": _finish(exchange.reply)}
        return {**_head(exchange), "object": "chat.completion", "choices": [choice], "usage": exchange.usage}

    def _thoughts(self, digest: str) -> list[dict[str, Any]]:
        thought = [{"type": "text", "text": f"thinking of {digest[:16]}"}]
        chunk = {"type": "thinking", "thinking": thought, "closed": True}
        self._thought.add(orjson.dumps(chunk))
        return [chunk]

    def frames(self, exchange: Exchange) -> Sequence[bytes]:
        def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            return event({**_head(exchange), "object": "chat.completion.chunk", "choices": [choice], **more})

        found = [chunk({"role": "assistant", "content": ""})]
        if self._thinks:
            (whole,) = self._thoughts(exchange.digest)
            for piece in re.findall(r"\s*\S+\s*", whole["thinking"][0]["text"]):
                found.append(chunk({"content": [{**whole, "thinking": [{"type": "text", "text": piece}]}]}))
        found += [chunk({"content": word}) for word in re.findall(r"\s*\S+\s*", exchange.reply["content"] or "")]
        # A call comes whole, and with the end: Mistral does not send them in pieces.
        calls = {"tool_calls": _calls(exchange)} if exchange.reply.get("tool_calls") else {}
        found.append(chunk({"content": "", **calls}, _finish(exchange.reply), usage=exchange.usage))
        return [*found, b"data: [DONE]\n\n"]

    def models(self) -> Any:
        model = {"id": "mistral-large-4", "object": "model", "created": 1790000000, "owned_by": "mistralai"}
        return {"object": "list", "data": [{**model, "type": "base", "capabilities": {"completion_chat": True}}]}


def _head(exchange: Exchange) -> dict[str, Any]:
    return {"id": exchange.digest[:32], "created": 1790000000, "model": exchange.body["model"]}


def _calls(exchange: Exchange) -> list[dict[str, Any]]:
    return [
        {"id": call_id(call["id"], exchange.place), "function": call["function"], "index": index}
        for index, call in enumerate(exchange.reply.get("tool_calls") or ())
    ]


def _finish(reply: dict[str, Any]) -> str:
    return "tool_calls" if reply.get("tool_calls") else "stop"


def _said(content: Any) -> str:
    if isinstance(content, list):
        return "".join(chunk["text"] for chunk in content if chunk["type"] == "text")
    return content or ""


def _tokens(value: Any) -> int:
    return (len(json.dumps(value)) + 3) // 4


def main() -> None:
    options = parser(__doc__ or "").parse_args()
    serve(options, Mistral(thinks=options.think))


if __name__ == "__main__":
    main()
