"""From what clients send to what the engine takes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from clew import exact_json
from clew.dialects.mistral_conversations.entries import OWN
from clew.dialects.mistral_conversations.errors import Loc, not_offered, wrong
from clew.dialects.mistral_conversations.identifiers import assistant_id
from clew.dialects.mistral_conversations.requests import (
    AgentHandoff,
    Chunk,
    CompletionArgs,
    ContentIn,
    DocumentUrlChunk,
    Entry,
    FileChunk,
    FunctionCall,
    FunctionResult,
    FunctionTool,
    ImageUrlChunk,
    Inputs,
    MessageInput,
    MessageOutput,
    TextChunk,
    ToolExecution,
    ToolFileChunk,
    ToolIn,
)
from clew.engine.counting import counted_message, counted_text, text_tokens
from clew.engine.files import file_exists
from clew.errors import NotFound
from clew.events.content import Content, Image, JsonObject, Metadata, Other, Part, Text, text
from clew.events.run import Completion, Sampling, Tool, ToolChoice
from clew.events.tool import HandingOver
from clew.ids import new_id
from clew.rules.parts import NewCall, NewItem, NewMessage, NewResult

_INPUTS = ("body", "inputs")
_URL = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*:")
# No id is as long as this.
_CONTENT = re.compile(r"[A-Za-z0-9+/_\s-]{64,}={0,2}\s*")


def entries(inputs: Inputs | None) -> list[Entry]:
    """A plain text is what the user says."""
    if inputs is None:
        return []
    return [MessageInput(role="user", content=inputs)] if isinstance(inputs, str) else inputs


async def items(given: Sequence[Entry]) -> tuple[NewItem, ...]:
    """Entries on their way into a thread: messages, and calls with their results. Raises `Rejected`.

    What an assistant says right before calls, and calls next to each other, are one answer of a model.
    """
    made: list[NewItem] = []
    open_calls: dict[str, int] = {}
    answer: str | None = None
    for index, entry in enumerate(given):
        if isinstance(entry, (MessageInput, FunctionResult)):
            answer = None
        elif isinstance(entry, MessageOutput) or answer is None:
            answer = new_id("mc")
        match entry:
            case MessageInput() | MessageOutput():
                made.append(await _message(entry, index, answer))
            case FunctionCall(tool_call_id=tool_call_id):
                if tool_call_id in open_calls:
                    raise wrong((*_INPUTS, index, "tool_call_id"), f"There is a call {tool_call_id!r} before this one.")
                open_calls[tool_call_id] = index
                made.append(await _call(entry, answer or new_id("mc")))
            case FunctionResult(tool_call_id=tool_call_id, result=result):
                if open_calls.pop(tool_call_id, None) is None:
                    message = (
                        f"No function call {tool_call_id!r} is open: it is neither among the inputs nor waited for."
                    )
                    raise wrong((*_INPUTS, index, "tool_call_id"), message)
                made.append(NewResult(tool_call_id=tool_call_id, output=result, tokens=await counted_text(result)))
            case ToolExecution():
                made += await _execution(entry, answer or new_id("mc"))
                answer = None
            case AgentHandoff():
                made += _handoff(entry, answer or new_id("mc"))
                answer = None
    for tool_call_id, index in open_calls.items():
        raise wrong((*_INPUTS, index), f"The function call {tool_call_id!r} has no function.result among the inputs.")
    return tuple(made)


async def _message(entry: MessageInput | MessageOutput, index: int, answer: str | None) -> NewMessage:
    if isinstance(entry, MessageInput) and entry.prefix:
        raise not_offered("prefixes of answers", *_INPUTS, index, "prefix")
    message = await counted_message(entry.role, content(entry.content, (*_INPUTS, index, "content")))
    if isinstance(entry, MessageInput):
        return message
    return NewMessage(
        message_id=message.message_id,
        role="assistant",
        content=message.content,
        tokens=message.tokens,
        model_call_id=answer,
        assistant_id=_identity(entry.agent_id) if entry.agent_id else None,
    )


async def _call(entry: FunctionCall, answer: str) -> NewCall:
    arguments = entry.arguments if isinstance(entry.arguments, str) else exact_json.dumps(entry.arguments).decode()
    return NewCall(
        tool_call_id=entry.tool_call_id,
        model_call_id=answer,
        name=entry.name,
        arguments=arguments,
        executor="client",
        tokens=await counted_text(entry.name + arguments),
    )


async def _execution(entry: ToolExecution, answer: str) -> list[NewItem]:
    tool_call_id, output = new_id("call"), exact_json.dumps(entry.info or {}).decode()
    call = NewCall(
        tool_call_id=tool_call_id,
        model_call_id=answer,
        name=entry.name,
        arguments=entry.arguments,
        executor="server",
        tokens=await counted_text(entry.name + entry.arguments),
    )
    return [call, NewResult(tool_call_id=tool_call_id, output=output, tokens=await counted_text(output))]


def _handoff(entry: AgentHandoff, answer: str) -> list[NewItem]:
    tool_call_id, told = new_id("call"), f"The conversation was handed over to {entry.next_agent_name}."
    name = "hand_over"
    call = NewCall(
        tool_call_id=tool_call_id,
        model_call_id=answer,
        name=name,
        arguments="{}",
        executor="server",
        handing_over=HandingOver(
            from_id=_identity(entry.previous_agent_id),
            from_name=entry.previous_agent_name,
            to_id=_identity(entry.next_agent_id),
            to_name=entry.next_agent_name,
        ),
        tokens=text_tokens(name),
    )
    return [call, NewResult(tool_call_id=tool_call_id, output=told, tokens=text_tokens(told))]


def _identity(agent: str) -> str:
    """Agents of elsewhere have ids of their own, which are kept as they are."""
    try:
        return assistant_id(agent)
    except NotFound:
        return agent


def content(given: ContentIn, loc: Loc) -> Content:
    """`loc` is where the request has it. Raises `Rejected`."""
    if isinstance(given, str):
        return text(given)
    return tuple(_part(one, (*loc, index)) for index, one in enumerate(given))


def _part(given: Chunk, loc: Loc) -> Part:
    if isinstance(given, TextChunk):
        return Text(type="text", text=given.text)
    if isinstance(given, ImageUrlChunk):
        url = given.image_url
        if isinstance(url, str):
            return Image(type="image", url=_url(url, (*loc, "image_url")))
        return Image(type="image", url=_url(url.url, (*loc, "image_url", "url")), detail=url.detail)
    if isinstance(given, DocumentUrlChunk):
        _url(given.document_url, (*loc, "document_url"))
    if isinstance(given, (FileChunk, ToolFileChunk)) and not file_exists(given.file_id):
        raise wrong((*loc, "file_id"), f"No file has the id {given.file_id!r}.", "not_found")
    return Other(type="other", provider=OWN, block=exact_json.dumps(given.model_dump(exclude_unset=True)).decode())


def _url(given: str, loc: Loc) -> str:
    """As it is, if it may be one, or the content itself in base 64. Raises `Rejected`: an id, or a name, is neither."""
    if not _URL.match(given) and not _CONTENT.fullmatch(given):
        raise wrong(loc, "Input should be a valid URL, or a data URL", "url_parsing")
    return given


# Tools, and how answers are made


def tools(given: Sequence[ToolIn] | None) -> tuple[Tool, ...]:
    return tuple(_tool(one, index) for index, one in enumerate(given or ()))


def _tool(given: ToolIn, index: int) -> Tool:
    if not isinstance(given, FunctionTool):
        raise not_offered(f"the tool {given.type!r}", "body", "tools", index, "type")
    function = given.function
    return Tool(
        type="function",
        name=function.name,
        description=function.description or None,
        parameters=function.parameters,
        strict=function.strict or None,
    )


def completion(given: CompletionArgs | None) -> Completion:
    if given is None:
        return Completion()
    if given.prediction is not None:
        raise not_offered("predictions", "body", "completion_args", "prediction")
    stop = (given.stop,) if isinstance(given.stop, str) else tuple(given.stop or ())
    choice = "required" if given.tool_choice == "any" else given.tool_choice
    chosen = given.response_format
    if chosen is not None and chosen.type == "json_schema" and chosen.json_schema is None:
        where = ("body", "completion_args", "response_format", "json_schema")
        raise wrong(where, "A response format of type json_schema has one.", "missing")
    return Completion(
        sampling=Sampling(
            temperature=given.temperature,
            top_p=given.top_p,
            reasoning_effort=given.reasoning_effort,
            seed=given.random_seed,
            stop=stop,
            presence_penalty=given.presence_penalty,
            frequency_penalty=given.frequency_penalty,
        ),
        max_output_tokens=given.max_tokens,
        tool_choice=ToolChoice(mode=choice) if choice is not None else None,
        response_format=chosen.model_dump(exclude_none=True) if chosen is not None else None,
    )


def no_guardrails(given: Sequence[JsonObject] | None) -> None:
    if given:
        raise not_offered("guardrails", "body", "guardrails")


# Metadata


def metadata(given: JsonObject | None) -> tuple[Metadata, tuple[str, ...]]:
    """As texts, which is what other dialects have; and the names of those that were something else, written as JSON."""
    texts = {name: value if isinstance(value, str) else as_text(value) for name, value in (given or {}).items()}
    return texts, tuple(name for name, value in (given or {}).items() if not isinstance(value, str))


def as_text(value: Any) -> str:
    return exact_json.dumps(value).decode()


def shown_metadata(texts: Metadata, json_names: Sequence[str]) -> JsonObject:
    return {name: _shown(value) if name in json_names else value for name, value in texts.items()}


def _shown(value: str) -> Any:
    try:
        return exact_json.loads(value)
    except ValueError:
        # Another dialect has put a text in its place.
        return value
