"""A provider without a model: it answers from a script, or sensibly without one. For demos, tests and CI.

It is given exactly the request that a real provider would be given, and decides from nothing else: the same
history always gets the same answer, ids included.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clew import exact_json
from clew.errors import Misconfigured, ProviderFailed
from clew.events.content import JsonObject
from clew.events.usage import Usage
from clew.providers import openai_render, openai_render_3, summaries
from clew.providers.base import Answer, CalledTool, CallPiece, ModelInfo, Piece, Prompt, TextPiece

CHARS_PER_TOKEN = 4
CALL_PIECE_CHARS = 12
# Words of tool names that stand in any sentence and tell nothing about what is wanted.
_COMMON_WORDS = frozenset(("get", "set", "the", "and", "for", "all", "list", "find", "make", "with", "from", "tool"))
# Of a conversation that is to be summarised.
_LINES_IN_SHORT = 3
_WORDS_IN_SHORT = 6
_WORD = re.compile(r"[^\W_]+")
_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class When(_Part):
    """Matches the newest message. With neither set it matches always; with both, both must be true."""

    user: str | None = Field(default=None, description="words in the newest message of the user, in any case")
    tool: str | None = Field(default=None, description="name of the tool whose result is newest")


class Call(_Part):
    name: str
    arguments: JsonObject = {}


class Fail(_Part):
    code: str = "server_error"
    message: str = "told to fail by the script"
    retryable: bool = False


class Rule(_Part):
    """What to answer. In `say`, `{user}` is what the user said last and `{result}` what a tool returned last."""

    when: When = When()
    say: str | None = None
    call: tuple[Call, ...] = ()
    finish: str | None = None
    fail: Fail | None = None


class Script(_Part):
    """Rules in order; the first that matches answers."""

    rules: Annotated[tuple[Rule, ...], Field(min_length=1)]

    @classmethod
    def from_file(cls, path: Path) -> Script:
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise Misconfigured(f"the script {path} cannot be read: {error.strerror}") from error
        except ValidationError as error:
            faults = "; ".join(f"{_place(fault['loc'])}: {fault['msg']}" for fault in error.errors())
            raise Misconfigured(f"the script {path} does not fit: {faults}") from error


def _place(loc: tuple[str | int, ...]) -> str:
    return ".".join(map(str, loc)) or "the file"


class _Newest:
    """What a request says last, and what it offers."""

    def __init__(self, request: dict[str, Any]) -> None:
        messages: list[dict[str, Any]] = request["messages"]
        names = {call["id"]: call["function"]["name"] for m in messages for call in m.get("tool_calls") or ()}
        # Instructions and summaries are no turn of anybody's.
        turns = [message for message in messages if message["role"] != "system"]
        users = [_text(message["content"]) for message in turns if message["role"] == "user"]
        results = [message for message in turns if message["role"] == "tool"]
        newest = turns[-1] if turns else {"role": "user"}
        self.user = users[-1] if users else ""
        self.result = _text(results[-1]["content"]) if results else ""
        self.is_user = newest["role"] == "user"
        self.tool: str | None = names.get(newest["tool_call_id"], "") if newest["role"] == "tool" else None
        told = [_text(message["content"]) for message in messages if message["role"] == "system"]
        self.wants_summary = bool(told) and summaries.is_asked_for(told[0])
        self.tools: list[dict[str, Any]] = [tool["function"] for tool in request.get("tools") or ()]
        self.tool_choice: Any = request.get("tool_choice")

    def fill(self, say: str | None) -> str | None:
        # In one pass, so that braces in what the user says are left alone.
        known = {"{user}": self.user, "{result}": self.result}
        return say and re.sub(r"\{user\}|\{result\}", lambda found: known[found[0]], say)


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""


class Scripted:
    """`delay_seconds` passes before an answer begins, `piece_delay_seconds` between its pieces."""

    name = "scripted"
    renderer = "scripted/2"

    def __init__(self, script: Script | None = None, delay_seconds: float = 0, piece_delay_seconds: float = 0) -> None:
        self._script = script
        self._delay_seconds = delay_seconds
        self._piece_delay_seconds = piece_delay_seconds

    def render(self, prompt: Prompt) -> bytes:
        return openai_render_3.render(prompt)

    async def call(self, body: bytes) -> AsyncGenerator[Piece]:
        if self._delay_seconds:
            await asyncio.sleep(self._delay_seconds)
        request = exact_json.loads(body)
        rule = self._rule(_Newest(request))
        if rule.fail is not None:
            raise ProviderFailed(rule.fail.message, code=rule.fail.code, retryable=rule.fail.retryable)
        answer = _answer(body, request, rule)
        if openai_render.asks_for_stream(body):
            for piece in _pieces(answer):
                if self._piece_delay_seconds:
                    await asyncio.sleep(self._piece_delay_seconds)
                yield piece
        yield answer

    async def models(self) -> list[ModelInfo]:
        return [ModelInfo(id="scripted", created=0, owned_by="clew")]

    async def close(self) -> None:
        """Nothing is open."""

    def _rule(self, newest: _Newest) -> Rule:
        """The rule that answers, its placeholders filled."""
        if self._script is None:
            return _sensible(newest)
        for rule in self._script.rules:
            if _matches(rule.when, newest):
                return rule.model_copy(update={"say": newest.fill(rule.say)})
        message = "no rule of the script matches; end it with a rule without `when`"
        raise ProviderFailed(message, code="invalid_prompt", retryable=False)


def _matches(when: When, newest: _Newest) -> bool:
    if when.user is not None and not (newest.is_user and when.user.casefold() in newest.user.casefold()):
        return False
    return when.tool is None or when.tool == newest.tool


def _sensible(newest: _Newest) -> Rule:
    """Calls a tool that the user mentions, tells what a tool returned, and else repeats what was said."""
    if newest.wants_summary:
        return Rule(say=_in_short(newest.user))
    if newest.tool is not None:
        return Rule(say=f"{newest.tool or 'The tool'} says: {newest.result}")
    if newest.is_user:
        tool = _wanted(newest)
        if tool is not None:
            return Rule(call=(Call(name=tool["name"], arguments=_arguments(tool, newest.user)),))
    if newest.user:
        return Rule(say=f"You said: {newest.user}")
    return Rule(say="Hello. Say something, and I will say it back.")


def _in_short(conversation: str) -> str:
    """Of each line the beginning, and of many lines the first and the last."""
    lines = [line for line in conversation.splitlines() if line.strip() and not line.startswith("<")]
    if len(lines) > 2 * _LINES_IN_SHORT:
        lines = [*lines[:_LINES_IN_SHORT], *lines[-_LINES_IN_SHORT:]]
    return " / ".join(" ".join(line.split()[:_WORDS_IN_SHORT]) for line in lines)


def _wanted(newest: _Newest) -> dict[str, Any] | None:
    """The tool that must be called, or that the user speaks of by name or by a word of its name."""
    if newest.tool_choice == "none":
        return None
    if isinstance(newest.tool_choice, dict):
        name = newest.tool_choice["function"]["name"]
        return next((tool for tool in newest.tools if tool["name"] == name), None)
    said = newest.user.casefold()
    words = set(_WORD.findall(said))
    for tool in newest.tools:
        if tool["name"].casefold() in said or not words.isdisjoint(_name_words(tool["name"])):
            return tool
    return newest.tools[0] if newest.tools and newest.tool_choice == "required" else None


def _name_words(name: str) -> set[str]:
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    return {word for word in _WORD.findall(spaced.casefold()) if len(word) > 2} - _COMMON_WORDS


def _arguments(tool: dict[str, Any], user: str) -> JsonObject:
    # The last word is more often what is meant than the first: "the weather in Paris".
    words = [word for word in _WORD.findall(user) if word.casefold() not in _name_words(tool["name"])]
    made = _example(tool.get("parameters") or {}, words[-1] if words else "something")
    return made if isinstance(made, dict) else {}


def _example(schema: Any, word: str) -> Any:
    """A value that fits the common part of JSON Schema."""
    if not isinstance(schema, dict):
        return word
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    choices = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if choices:
        return _example(choices[0], word)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), None)
    if kind == "object" or (kind is None and "properties" in schema):
        properties: dict[str, Any] = schema.get("properties") or {}
        required: list[str] = schema.get("required") or list(properties)
        return {name: _example(properties.get(name), word) for name in required}
    if kind == "array":
        return [_example(schema.get("items"), word)]
    return {"integer": 1, "number": 1, "boolean": True, "null": None}.get(str(kind), word)


def _answer(body: bytes, request: dict[str, Any], rule: Rule) -> Answer:
    digest = hashlib.sha256(body).digest()
    calls = tuple(
        CalledTool(_id("call", digest, index), call.name, orjson.dumps(call.arguments).decode())
        for index, call in enumerate(rule.call)
    )
    said = len(rule.say or "") + sum(len(call.name + call.arguments) for call in calls)
    usage = Usage(input=_tokens(len(orjson.dumps(request["messages"]))), output=_tokens(said))
    return Answer(
        text=rule.say or None,
        refusal=None,
        tool_calls=calls,
        reasoning=(),
        finish_reason=rule.finish or ("tool_calls" if calls else "stop"),
        model=str(request["model"]),
        usage=usage,
        usage_reported={
            "prompt_tokens": usage.input,
            "completion_tokens": usage.output,
            "total_tokens": usage.total,
        },
        provider_ids={"response": _id("scripted", digest)},
    )


def _pieces(answer: Answer) -> list[TextPiece | CallPiece]:
    words = re.findall(r"\s*\S+\s*", answer.text or "") or [answer.text or ""]
    pieces: list[TextPiece | CallPiece] = [TextPiece(word) for word in words if word]
    for index, call in enumerate(answer.tool_calls):
        pieces.append(CallPiece(index, call.tool_call_id, call.name))
        for start in range(0, len(call.arguments), CALL_PIECE_CHARS):
            pieces.append(CallPiece(index, arguments=call.arguments[start : start + CALL_PIECE_CHARS]))
    return pieces


def _tokens(chars: int) -> int:
    return (chars + CHARS_PER_TOKEN - 1) // CHARS_PER_TOKEN


def _id(prefix: str, digest: bytes, index: int = 0) -> str:
    """The same shape as ids have elsewhere, but always the same for the same request."""
    number = int.from_bytes(hashlib.sha256(digest + index.to_bytes(4, "big")).digest(), "big")
    letters = []
    for _ in range(24):
        number, letter = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[letter])
    return f"{prefix}_{''.join(letters)}"
