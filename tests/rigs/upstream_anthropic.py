"""A provider that plays real agent conversations back over Anthropic's Messages API, plain and streamed.

    python -m tests.rigs.upstream_anthropic --port 9912
    python -m tests.rigs.upstream_anthropic --port 9912 --think --fail-every 7 --cut-stream-every 11 --delay-ms 20

A request that Anthropic would refuse gets 400 with the reason. With `--think` each answer begins with signed thinking,
and every third has more of it in its middle; thinking that comes back must be what was sent, byte for byte. There is a
cache of prompts as Anthropic has one: what a mark ends is kept, and found again by a mark at most 20 blocks later.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from tests.rigs.recorded import Exchange, Refused, event, parser, serve
from tests.rigs.valid_anthropic import fault_of, thinking_fault_of

API_VERSION = "2026-10-21"
_LOOK_BACK_BLOCKS = 20
_PIECE_CHARS = 12


def call_id(recorded: str, place: int) -> str:
    """The id under which this provider makes a call that was recorded under another, in the message at `place`.

    Recorded ids come again in other messages; those of Anthropic do not.
    """
    return "toolu_" + hashlib.sha256(f"{recorded} {place}".encode()).hexdigest()[:24]


class Anthropic:
    path = "/v1/messages"

    def __init__(self, *, thinks: bool = False) -> None:
        self._thinks = thinks
        self._thought: set[bytes] = set()
        self._cached: set[str] = set()
        self._answers = 0

    def check(self, body: dict[str, Any], headers: Mapping[str, str]) -> None:
        why = None
        if headers.get("anthropic-version") != API_VERSION:
            why = f"anthropic-version: {headers.get('anthropic-version')!r}"
        if not headers.get("authorization", "").startswith("Bearer "):
            raise Refused(401, self.error(401, "no key"), "no key")
        why = why or fault_of(body, headers.get("anthropic-beta", "")) or thinking_fault_of(body)
        for block in self._blocks(body):
            if block["type"] in ("thinking", "redacted_thinking") and orjson.dumps(block) not in self._thought:
                why = why or "Invalid `signature` in `thinking` block"
        if why is not None:
            raise Refused(400, self.error(400, why), why)

    def error(self, status: int, message: str) -> Any:
        kinds = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}
        kind = kinds.get(status, "overloaded_error")
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_none"}

    def history(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """In OpenAI's format."""
        system = body.get("system", [])
        text = system if isinstance(system, str) else "".join(block["text"] for block in system)
        found: list[dict[str, Any]] = [{"role": "system", "content": text}] if text else []
        for message in body["messages"]:
            texts, calls = [], []
            content = message["content"]
            for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
                match block["type"]:
                    case "text":
                        texts.append(block["text"])
                    case "tool_use":
                        function = {"name": block["name"], "arguments": json.dumps(block["input"])}
                        calls.append({"id": block["id"], "type": "function", "function": function})
                    case "tool_result":
                        result = {"role": "tool", "tool_call_id": block["tool_use_id"]}
                        found.append({**result, "content": block.get("content", "")})
                    case _:
                        pass
            if texts or calls:
                more = {"tool_calls": calls} if calls else {}
                found.append({"role": message["role"], "content": "".join(texts), **more})
        return found

    def usage(self, body: dict[str, Any], reply: dict[str, Any]) -> dict[str, Any]:
        """One token for four characters; what of it was read from the cache, and what written to it."""
        hashes, sizes, marks = self._prefixes(body)
        read = max((self._found(hashes, mark) for mark in marks), default=-1)
        end = max(marks, default=-1)
        self._cached.update(hashes[mark] for mark in marks)
        upto = [0, *sizes]
        return {
            "input_tokens": sizes[-1] - upto[end + 1],
            "cache_creation_input_tokens": upto[end + 1] - upto[read + 1],
            "cache_read_input_tokens": upto[read + 1],
            "cache_creation": {
                "ephemeral_5m_input_tokens": upto[end + 1] - upto[read + 1],
                "ephemeral_1h_input_tokens": 0,
            },
            "output_tokens": _tokens(reply),
            "service_tier": "standard",
        }

    def _found(self, hashes: list[str], mark: int) -> int:
        """The last block that the cache holds everything up to, as far as one looks back from a mark."""
        first = max(0, mark - _LOOK_BACK_BLOCKS)
        return next((at for at in range(mark, first - 1, -1) if hashes[at] in self._cached), -1)

    def _prefixes(self, body: dict[str, Any]) -> tuple[list[str], list[int], list[int]]:
        """For each block the hash of all up to it and its size; and which blocks are marked."""
        hashes: list[str] = []
        sizes: list[int] = []
        marks: list[int] = []
        chain, size = hashlib.sha256(body["model"].encode()), 0
        for block in self._everything(body):
            plain = orjson.dumps({key: value for key, value in block.items() if key != "cache_control"})
            chain.update(plain)
            size += _tokens(plain.decode())
            if "cache_control" in block:
                marks.append(len(hashes))
            hashes.append(chain.hexdigest())
            sizes.append(size)
        return hashes, sizes, marks

    def _everything(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield from body.get("tools", [])
        system = body.get("system", [])
        yield from [{"type": "text", "text": system}] if isinstance(system, str) else system
        yield from self._blocks(body)

    def _blocks(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for message in body["messages"]:
            content = message["content"]
            yield from [{"type": "text", "text": content}] if isinstance(content, str) else content

    def whole(self, exchange: Exchange) -> Any:
        content = [
            {**block, "input": orjson.Fragment(block["input"])} if block["type"] == "tool_use" else block
            for block in self._content(exchange)
        ]
        return {**self._head(exchange), "content": content, **_stop(exchange.reply), "usage": exchange.usage}

    def _head(self, exchange: Exchange) -> dict[str, Any]:
        id, model = f"msg_{exchange.digest[:24]}", exchange.body["model"]
        return {"id": id, "type": "message", "role": "assistant", "model": model}

    def _content(self, exchange: Exchange) -> list[dict[str, Any]]:
        """The blocks of the answer. Inputs are JSON texts, as recorded."""
        self._answers += 1
        digest, reply = exchange.digest, exchange.reply
        said, content = reply["content"] or "", []
        if self._thinks:
            content.append(self._think(f"thinking of {digest[:8]}"))
            if said and self._answers % 3 == 0:
                half = len(said) // 2
                content.append({"type": "text", "text": said[:half], "citations": None})
                content.append(self._think(f"thinking on of {digest[8:16]}", hidden=True))
                said = said[half:]
        if said:
            content.append({"type": "text", "text": said, "citations": None})
        for call in reply.get("tool_calls") or ():
            name, arguments = call["function"]["name"], call["function"]["arguments"]
            id = call_id(call["id"], exchange.place)
            content.append({"type": "tool_use", "id": id, "name": name, "input": arguments})
        return content

    def _think(self, thought: str, *, hidden: bool = False) -> dict[str, Any]:
        signature = base64.b64encode(hashlib.sha512(thought.encode()).digest()).decode()
        block = {"type": "thinking", "thinking": thought, "signature": signature}
        if hidden:
            block = {"type": "redacted_thinking", "data": signature}
        self._thought.add(orjson.dumps(block))
        return block

    def frames(self, exchange: Exchange) -> Sequence[bytes]:
        begun = {**exchange.usage, "output_tokens": 1}
        start = {**self._head(exchange), "content": [], "stop_reason": None, "stop_sequence": None, "usage": begun}
        found: list[dict[str, Any]] = [{"type": "message_start", "message": start}, {"type": "ping"}]
        for index, block in enumerate(self._content(exchange)):
            empty, deltas = _pieces(block)
            found.append({"type": "content_block_start", "index": index, "content_block": empty})
            found += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
            found.append({"type": "content_block_stop", "index": index})
        counted = {"output_tokens": exchange.usage["output_tokens"]}
        found.append({"type": "message_delta", "delta": _stop(exchange.reply), "usage": counted})
        found.append({"type": "message_stop"})
        return [event(one, one["type"]) for one in found]

    def models(self) -> Any:
        model = {"type": "model", "id": "claude-opus-5-5", "created_at": "2026-09-24T00:00:00Z", "display_name": "Opus"}
        return {"data": [model], "has_more": False, "first_id": model["id"], "last_id": model["id"]}


def _pieces(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A block as it begins, and what comes to it."""
    match block["type"]:
        case "text":
            words = re.findall(r"\s*\S+\s*", block["text"]) or [block["text"]]
            return {**block, "text": ""}, [{"type": "text_delta", "text": word} for word in words]
        case "thinking":
            thought = {"type": "thinking_delta", "thinking": block["thinking"]}
            signature = {"type": "signature_delta", "signature": block["signature"]}
            return {**block, "thinking": "", "signature": ""}, [thought, signature]
        case "tool_use":
            written = block["input"]
            parts = [written[at : at + _PIECE_CHARS] for at in range(0, len(written), _PIECE_CHARS)]
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": part} for part in ["", *parts]]
        case _:
            return block, []


def _stop(reply: dict[str, Any]) -> dict[str, Any]:
    return {"stop_reason": "tool_use" if reply.get("tool_calls") else "end_turn", "stop_sequence": None}


def _tokens(value: Any) -> int:
    return (len(value if isinstance(value, str) else json.dumps(value)) + 3) // 4


def main() -> None:
    options = parser(__doc__ or "").parse_args()
    serve(options, Anthropic(thinks=options.think))


if __name__ == "__main__":
    main()
