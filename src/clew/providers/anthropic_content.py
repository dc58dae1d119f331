"""What was said, as messages of Anthropic's API. A part of the renderer `anthropic-messages/1`: never changed.

Users and the assistant speak in turn. Results come first in the user's turn. Reasoning goes back as it came, byte
for byte, to the model that made it; whole, or not at all.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from clew import exact_json
from clew.errors import ProviderFailed
from clew.events.content import Content, File, Image, Other, Refusal, Text, plain_text
from clew.events.items import MessageItem, Place, ReasoningItem, SummaryItem, ToolResultItem
from clew.providers.anthropic_media import file_block, image_block, not_shown
from clew.providers.base import Prompt
from clew.providers.omissions import is_for
from clew.providers.turns import GO_ON, NO_RESULT, Call, Heard, Listened, Spoken, Turn, beginning, turns_of

Block: TypeAlias = "dict[str, Any] | orjson.Fragment"

CACHED = {"type": "ephemeral"}
# The API takes four marks in all; one stands behind instructions and tools.
_MARKS_IN_MESSAGES = 3
_ID = re.compile(r"[a-zA-Z0-9_-]{1,128}")


def text_block(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


@dataclass(frozen=True, slots=True)
class _Thought:
    """Reasoning that goes back. `is_answer`: texts and calls are among its blocks, see ReasoningRecorded."""

    blocks: list[orjson.Fragment]
    is_answer: bool


class Conversation:
    """`kept_back` says of reasoning items why they do not go back; those that are not in it do.

    `system` is what the system said before anybody else did; it is not among the messages.
    """

    def __init__(self, prompt: Prompt) -> None:
        self._provider = prompt.config.provider
        self._turns = turns_of(prompt.items)
        self.system = [block for part in beginning(self._turns) for block in _system(part, "{}")]
        self._thoughts: dict[Place, _Thought] = {}
        self.kept_back: dict[Place, str] = {}
        answers = _answers(self._turns)
        for item in prompt.items:
            if isinstance(item, ReasoningItem):
                thought = _thought(item, prompt, answers)
                if isinstance(thought, str):
                    self.kept_back[item.place] = thought
                else:
                    self._thoughts[item.place] = thought

    @property
    def thinks(self) -> bool:
        """Whether any reasoning goes back."""
        return bool(self._thoughts)

    @property
    def without_calls(self) -> list[ToolResultItem]:
        """Results whose calls are not there."""
        heard = [part for turn in self._turns if isinstance(turn, Listened) for part in turn.parts]
        return [part for part in heard if isinstance(part, ToolResultItem)]

    def messages(self) -> list[dict[str, Any]]:
        """Beginning and ending with a user, and marked so that the next request finds in the cache what this one is.

        A mark stands where a request ended: at the end of this one, and of the two before it. The next request has
        its second mark where this one has its last, so what is read from the cache grows with the thread, however
        much comes at once.
        """
        messages: list[dict[str, Any]] = []
        for turn in self._turns:
            if isinstance(turn, Spoken):
                _add(messages, "assistant", self._spoken(turn))
                _add(messages, "user", [self._result(call) for call in turn.calls])
            else:
                _add(messages, "user", [block for part in turn.parts for block in self._heard(part)])
        if not messages or messages[0]["role"] == "assistant":
            messages.insert(0, {"role": "user", "content": [text_block(GO_ON)]})
        if messages[-1]["role"] == "assistant":
            messages.append({"role": "user", "content": [text_block(GO_ON)]})
        for message in [message for message in messages if message["role"] == "user"][-_MARKS_IN_MESSAGES:]:
            _mark(message["content"])
        return messages

    def _spoken(self, turn: Spoken) -> list[Block]:
        content: list[Block] = []
        whole: set[str | None] = set()
        for part in turn.parts:
            if isinstance(part, ReasoningItem):
                thought = self._thoughts.get(part.place)
                if thought is not None:
                    content += thought.blocks
                    if thought.is_answer:
                        whole.add(part.model_call_id)
            elif isinstance(part, Call):
                if part.item.model_call_id not in whole:
                    content.append(_tool_use(part))
            elif part.model_call_id not in whole:
                content += self._said(part.content)
        return content

    def _said(self, content: Content) -> list[Block]:
        """What an assistant may say: text, and blocks of Anthropic's own."""
        blocks: list[Block] = []
        for part in content:
            if isinstance(part, Image):
                blocks.append(not_shown("image", part.file_id))
            elif isinstance(part, File):
                blocks.append(not_shown("file", part.filename or part.file_id))
            else:
                blocks += self._words(part)
        return blocks

    def _words(self, part: Text | Refusal | Other) -> list[Block]:
        if isinstance(part, Other):
            return [_raw(part.block)] if part.provider == self._provider else []
        # The API refuses a text without anything in it.
        return [text_block(part.text)] if part.text.strip() else []

    def _heard(self, part: Heard) -> list[Block]:
        if isinstance(part, ToolResultItem):
            return [text_block(f"[A result without its call: {part.output}]")]
        if isinstance(part, SummaryItem) or part.role == "system":
            # Only the newest models take what the system says in the middle, and only at some places.
            return list(_system(part, "<system>{}</system>"))
        return self._shown(part.content)

    def _shown(self, content: Content) -> list[Block]:
        """What a user may show."""
        blocks: list[Block] = []
        for one in content:
            if isinstance(one, Image):
                blocks.append(image_block(one))
            elif isinstance(one, File):
                blocks.append(file_block(one))
            else:
                blocks += self._words(one)
        return blocks

    def _result(self, call: Call) -> dict[str, Any]:
        block: dict[str, Any] = {"type": "tool_result", "tool_use_id": _wire_id(call)}
        output = NO_RESULT if call.result is None else call.result.output
        shown = [] if call.result is None else self._shown(call.result.content)
        if shown:
            block["content"] = shown
        elif output.strip():
            block["content"] = output
        if call.result is None or call.result.is_error:
            block["is_error"] = True
        return block


def _system(part: Heard, form: str) -> list[dict[str, Any]]:
    said = part.output if isinstance(part, ToolResultItem) else plain_text(part.content)
    return [text_block(form.format(said))] if said.strip() else []


def _add(messages: list[dict[str, Any]], role: str, content: list[Block] | list[dict[str, Any]]) -> None:
    if not content:
        return
    if messages and messages[-1]["role"] == role:
        messages[-1]["content"] += content
    else:
        messages.append({"role": role, "content": list(content)})


def _mark(content: list[Block]) -> None:
    """On the last block that is ours to mark."""
    for place in reversed(range(len(content))):
        block = content[place]
        if isinstance(block, dict):
            content[place] = {**block, "cache_control": CACHED}
            return


def _tool_use(call: Call) -> dict[str, Any]:
    return {"type": "tool_use", "id": _wire_id(call), "name": call.item.name, "input": _input(call.item.arguments)}


def _wire_id(call: Call) -> str:
    """The call's own id, where the API takes it and no earlier call had it; else one that is made of it."""
    own = call.item.tool_call_id
    if call.again == 0 and _ID.fullmatch(own):
        return own
    return "toolu_" + hashlib.sha256(f"{own} {call.again}".encode()).hexdigest()[:24]


def _input(arguments: str) -> Any:
    """As the model wrote it, byte for byte, if it is an object: the API takes nothing else."""
    if not arguments.strip():
        return {}
    try:
        written = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        written = None
    return orjson.Fragment(arguments) if isinstance(written, dict) else {"arguments": arguments}


def _raw(block: str, known: dict[str, Any] | None = None) -> orjson.Fragment:
    """A block as Anthropic made it. Marks for the cache are a matter of each request, and the API counts them."""
    known = _parsed(block) if known is None else known
    if "cache_control" in known:
        return orjson.Fragment(exact_json.dumps({key: known[key] for key in known if key != "cache_control"}))
    return orjson.Fragment(block)


def _parsed(block: str) -> dict[str, Any]:
    try:
        known = orjson.loads(block)
    except orjson.JSONDecodeError:
        known = _beyond_floats(block)
    if not isinstance(known, dict):
        message = "a block that is kept for anthropic is not a JSON object, so it cannot be sent"
        raise ProviderFailed(message, code="invalid_prompt", retryable=False)
    return known


def _beyond_floats(block: str) -> Any:
    """A block with numbers that orjson does not read; None for what is no JSON."""
    try:
        return exact_json.loads(block)
    except ValueError:
        return None


# Reasoning


def _thought(item: ReasoningItem, prompt: Prompt, answers: dict[str, tuple[str, list[str]]]) -> _Thought | str:
    """What goes back of this item, or why nothing does."""
    if (why_not := is_for(item, prompt)) is not None:
        return why_not
    if prompt.config.sampling.reasoning_effort == "none":
        return "the model is asked not to think"
    known = list(map(_parsed, item.blocks))
    texts = [block["text"] for block in known if block.get("type") == "text"]
    # A block without an id belongs to no call.
    ids = [str(block.get("id")) for block in known if block.get("type") == "tool_use"]
    is_answer = bool(texts or ids)
    if is_answer and answers.get(item.model_call_id, ("", [])) != ("".join(texts), ids):
        return "the answer that this reasoning stands in was changed"
    return _Thought([_raw(block, one) for block, one in zip(item.blocks, known, strict=True)], is_answer)


def _answers(turns: list[Turn]) -> dict[str, tuple[str, list[str]]]:
    """What each model call said, and the ids of its calls, as they are shown now."""
    found: dict[str, tuple[str, list[str]]] = {}
    for turn in turns:
        if isinstance(turn, Listened):
            continue
        for part in turn.parts:
            if isinstance(part, Call):
                text, ids = found.get(part.item.model_call_id, ("", []))
                found[part.item.model_call_id] = (text, [*ids, _wire_id(part)])
            elif isinstance(part, MessageItem) and part.model_call_id is not None:
                text, ids = found.get(part.model_call_id, ("", []))
                found[part.model_call_id] = (text + plain_text(part.content), ids)
    return found
