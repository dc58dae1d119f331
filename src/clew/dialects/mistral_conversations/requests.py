"""What clients may send. Nothing unknown gets in, and no value is turned into another type on the way.

Entries, chunks and tools are told apart by their `type`; an entry without one by what is in it. The tags stand in
angle brackets and are no part of where a fault is.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

# Far above what any JSON Schema needs, and far below what readers of stored JSON refuse.
_DEPTH_MAX = 64
TEXT_CHARS_MAX = 256_000


def _not_too_deep(value: Any) -> Any:
    level = [value]
    for _ in range(_DEPTH_MAX):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return value
    raise PydanticCustomError("nested_too_deeply", "nested too deeply")


def _type_tag(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else None
    return f"<{kind}>" if isinstance(kind, str) else None


def _text_or_list_tag(value: Any) -> str | None:
    return "<text>" if isinstance(value, str) else "<list>" if isinstance(value, list) else None


def _text_or_object_tag(value: Any) -> str | None:
    return "<text>" if isinstance(value, str) else "<object>" if isinstance(value, dict) else None


def _tool_tag(value: Any) -> str | None:
    if isinstance(value, dict) and "type" not in value and "function" in value:
        return "<function>"
    return _type_tag(value)


# By what is in it, for an entry that does not say what it is.
_SHAPES = (
    ({"tool_call_id", "result"}, "function.result"),
    ({"tool_call_id", "name", "arguments"}, "function.call"),
    ({"name", "arguments"}, "tool.execution"),
    ({"previous_agent_id", "next_agent_id"}, "agent.handoff"),
    ({"role", "content"}, "message.input"),
    ({"content"}, "message.output"),
)


def _entry_tag(value: Any) -> str | None:
    if not isinstance(value, dict):
        return None
    if "type" in value:
        return _type_tag(value)
    return next((f"<{kind}>" for names, kind in _SHAPES if names <= value.keys()), "<message.input>")


Text: TypeAlias = Annotated[str, Field(max_length=TEXT_CHARS_MAX)]
# The values are JSON already: of a `JsonValue` pydantic would round the numbers.
Json: TypeAlias = Annotated[dict[str, Any], BeforeValidator(_not_too_deep)]
Penalty: TypeAlias = Annotated[float, Field(ge=-2, le=2)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Count: TypeAlias = Annotated[int, Field(ge=0)]
Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
HandoffExecution: TypeAlias = Literal["client", "server"]
Version: TypeAlias = int | str


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


# Content


class TextChunk(Body):
    type: Literal["text"] = "text"
    text: Text


class ImageUrl(Body):
    url: str
    detail: Literal["low", "auto", "high"] | None = None


class ImageUrlChunk(Body):
    type: Literal["image_url"]
    image_url: Annotated[
        Annotated[str, Tag("<text>")] | Annotated[ImageUrl, Tag("<object>")], Discriminator(_text_or_object_tag)
    ]


class DocumentUrlChunk(Body):
    type: Literal["document_url"]
    document_url: str
    document_name: str | None = None


class FileChunk(Body):
    type: Literal["file"]
    file_id: str


class ToolFileChunk(Body):
    type: Literal["tool_file"]
    tool: str
    file_id: str
    file_name: str | None = None
    file_type: str | None = None


class ToolReferenceChunk(Body):
    type: Literal["tool_reference"]
    tool: str
    title: str
    url: str | None = None
    favicon: str | None = None
    description: str | None = None


class ThinkChunk(Body):
    type: Literal["thinking"]
    thinking: list[Json]
    signature: str | None = None
    closed: bool | None = None


Chunk: TypeAlias = Annotated[
    Annotated[TextChunk, Tag("<text>")]
    | Annotated[ImageUrlChunk, Tag("<image_url>")]
    | Annotated[DocumentUrlChunk, Tag("<document_url>")]
    | Annotated[FileChunk, Tag("<file>")]
    | Annotated[ToolFileChunk, Tag("<tool_file>")]
    | Annotated[ToolReferenceChunk, Tag("<tool_reference>")]
    | Annotated[ThinkChunk, Tag("<thinking>")],
    Discriminator(_type_tag),
]
ContentIn: TypeAlias = Annotated[
    Annotated[Text, Tag("<text>")] | Annotated[list[Chunk], Tag("<list>")], Discriminator(_text_or_list_tag)
]

# Entries


class _Entry(Body):
    """Ids and times are ours to give: an entry that was read elsewhere is a new one here."""

    object: Literal["entry"] = "entry"
    id: str | None = None
    created_at: str | None = None
    completed_at: str | None = None


class MessageInput(_Entry):
    type: Literal["message.input"] = "message.input"
    role: Literal["user", "assistant"]
    content: ContentIn
    prefix: bool = False


class MessageOutput(_Entry):
    type: Literal["message.output"] = "message.output"
    role: Literal["assistant"] = "assistant"
    content: ContentIn
    agent_id: str | None = None
    model: str | None = None


class FunctionCall(_Entry):
    type: Literal["function.call"] = "function.call"
    tool_call_id: str
    name: str
    arguments: Annotated[
        Annotated[Text, Tag("<text>")] | Annotated[Json, Tag("<object>")], Discriminator(_text_or_object_tag)
    ]
    agent_id: str | None = None
    model: str | None = None
    confirmation_status: Literal["pending", "allowed", "denied"] | None = None


class FunctionResult(_Entry):
    type: Literal["function.result"] = "function.result"
    tool_call_id: str
    result: Text


class ToolExecution(_Entry):
    type: Literal["tool.execution"] = "tool.execution"
    name: str
    arguments: Text
    info: Json | None = None
    agent_id: str | None = None
    model: str | None = None


class AgentHandoff(_Entry):
    type: Literal["agent.handoff"] = "agent.handoff"
    previous_agent_id: str
    previous_agent_name: str
    next_agent_id: str
    next_agent_name: str


Entry: TypeAlias = Annotated[
    Annotated[MessageInput, Tag("<message.input>")]
    | Annotated[MessageOutput, Tag("<message.output>")]
    | Annotated[FunctionCall, Tag("<function.call>")]
    | Annotated[FunctionResult, Tag("<function.result>")]
    | Annotated[ToolExecution, Tag("<tool.execution>")]
    | Annotated[AgentHandoff, Tag("<agent.handoff>")],
    Discriminator(_entry_tag),
]
Inputs: TypeAlias = Annotated[
    Annotated[Text, Tag("<text>")] | Annotated[list[Entry], Tag("<list>")], Discriminator(_text_or_list_tag)
]

# Tools, and how answers are made


class Function(Body):
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str = ""
    strict: bool = False
    parameters: Json


class FunctionTool(Body):
    type: Literal["function"] = "function"
    function: Function


class OtherTool(BaseModel):
    """A tool that Mistral runs on its own servers. It is known here so that the refusal can say so."""

    model_config = ConfigDict(extra="allow", strict=True)

    type: str


ToolIn: TypeAlias = Annotated[
    Annotated[FunctionTool, Tag("<function>")]
    | Annotated[OtherTool, Tag("<web_search>")]
    | Annotated[OtherTool, Tag("<web_search_premium>")]
    | Annotated[OtherTool, Tag("<code_interpreter>")]
    | Annotated[OtherTool, Tag("<image_generation>")]
    | Annotated[OtherTool, Tag("<document_library>")]
    | Annotated[OtherTool, Tag("<connector>")],
    Discriminator(_tool_tag),
]
ToolsIn: TypeAlias = Annotated[list[ToolIn], Field(max_length=128)]


class JsonSchema(Body):
    model_config = ConfigDict(extra="forbid", strict=True, serialize_by_alias=True)

    name: str
    description: str | None = None
    schema_: Json = Field(alias="schema")
    strict: bool = False


class ResponseFormat(Body):
    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: JsonSchema | None = None


Stop: TypeAlias = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[list[str], Tag("<list>")], Discriminator(_text_or_list_tag)
]


class CompletionArgs(Body):
    stop: Stop | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    temperature: Share | None = None
    top_p: Share | None = None
    max_tokens: Count | None = None
    random_seed: Count | None = None
    prediction: Json | None = None
    response_format: ResponseFormat | None = None
    tool_choice: Literal["auto", "none", "any", "required"] | None = None
    reasoning_effort: Effort | None = None


# Conversations


class Confirmation(Body):
    tool_call_id: str
    confirmation: Literal["allow", "deny"]


class Start(Body):
    inputs: Inputs
    stream: bool | None = None
    store: bool | None = None
    handoff_execution: HandoffExecution | None = None
    instructions: Text | None = None
    tools: ToolsIn | None = None
    completion_args: CompletionArgs | None = None
    guardrails: list[Json] | None = None
    name: str | None = None
    description: str | None = None
    metadata: Json | None = None
    agent_id: str | None = None
    agent_version: Version | None = None
    model: str | None = None


class Append(Body):
    inputs: Inputs | None = None
    stream: bool | None = None
    store: bool | None = None
    handoff_execution: HandoffExecution | None = None
    completion_args: CompletionArgs | None = None
    tool_confirmations: list[Confirmation] | None = None


class Restart(Body):
    from_entry_id: str
    inputs: Inputs | None = None
    stream: bool | None = None
    store: bool | None = None
    handoff_execution: HandoffExecution | None = None
    completion_args: CompletionArgs | None = None
    guardrails: list[Json] | None = None
    metadata: Json | None = None
    agent_version: Version | None = None


# Agents


class _AgentFields(Body):
    instructions: Text | None = None
    tools: ToolsIn | None = None
    completion_args: CompletionArgs | None = None
    guardrails: list[Json] | None = None
    description: str | None = None
    handoffs: Annotated[list[str], Field(min_length=1)] | None = None
    metadata: Json | None = None
    version_message: Annotated[str, Field(max_length=500)] | None = None


class CreateAgent(_AgentFields):
    model: str
    name: str


class UpdateAgent(_AgentFields):
    model: str | None = None
    name: str | None = None
    deployment_chat: bool | None = None
