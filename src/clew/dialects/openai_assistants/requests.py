"""What clients may send. Nothing unknown gets in, and no value is turned into another type on the way.

Where a value may be one of several things, a function says by its look which one it must be, so that an error
speaks of that one only; the tags it gives stand in angle brackets and are no part of any name.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

TAGS = frozenset(
    f"<{name}>"
    for name in (
        *("string", "array", "text", "image_url", "image_file", "refusal", "function", "code_interpreter"),
        *("file_search", "json_object", "json_schema"),
    )
)
NESTED_TOO_DEEPLY = "nested_too_deeply"
# Far above what any JSON Schema needs, and far below what readers of stored JSON refuse.
_DEPTH_MAX = 64
INSTRUCTIONS_CHARS_MAX = CONTENT_CHARS_MAX = 256_000


def _object_tag(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else None
    return f"<{kind}>" if isinstance(kind, str) else None


def _content_tag(value: Any) -> str | None:
    return "<string>" if isinstance(value, str) else "<array>" if isinstance(value, list) else None


def _string_or_object_tag(value: Any) -> str | None:
    return "<string>" if isinstance(value, str) else _object_tag(value)


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
    raise PydanticCustomError(NESTED_TOO_DEEPLY, "nested too deeply")


Metadata: TypeAlias = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]
# The values are JSON already: of a `JsonValue` pydantic would round the numbers.
Json: TypeAlias = Annotated[dict[str, Any], BeforeValidator(_not_too_deep)]
Instructions: TypeAlias = Annotated[str, Field(max_length=INSTRUCTIONS_CHARS_MAX)]
Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Temperature: TypeAlias = Annotated[float, Field(ge=0, le=2)]
TopP: TypeAlias = Annotated[float, Field(ge=0, le=1)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


# Content


class TextIn(Body):
    type: Literal["text"]
    text: Annotated[str, Field(max_length=CONTENT_CHARS_MAX)]


class ImageUrl(Body):
    url: str
    detail: Literal["auto", "low", "high"] | None = None


class ImageUrlIn(Body):
    type: Literal["image_url"]
    image_url: ImageUrl


class ImageFile(Body):
    file_id: str
    detail: Literal["auto", "low", "high"] | None = None


class ImageFileIn(Body):
    type: Literal["image_file"]
    image_file: ImageFile


class RefusalIn(Body):
    type: Literal["refusal"]
    refusal: str


PartIn: TypeAlias = Annotated[
    Annotated[TextIn, Tag("<text>")]
    | Annotated[ImageUrlIn, Tag("<image_url>")]
    | Annotated[ImageFileIn, Tag("<image_file>")]
    | Annotated[RefusalIn, Tag("<refusal>")],
    Discriminator(_object_tag),
]
ContentIn: TypeAlias = Annotated[
    Annotated[str, Field(max_length=CONTENT_CHARS_MAX), Tag("<string>")]
    | Annotated[list[PartIn], Field(min_length=1), Tag("<array>")],
    Discriminator(_content_tag),
]

# Tools


class Function(Body):
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    parameters: Json | None = None
    strict: bool | None = None


class FunctionTool(Body):
    type: Literal["function"]
    function: Function


class OtherTool(BaseModel):
    """A tool that OpenAI runs on its own servers. It is known here so that the refusal can say so."""

    model_config = ConfigDict(extra="allow", strict=True)

    type: Literal["code_interpreter", "file_search"]


ToolIn: TypeAlias = Annotated[
    Annotated[FunctionTool, Tag("<function>")]
    | Annotated[OtherTool, Tag("<code_interpreter>")]
    | Annotated[OtherTool, Tag("<file_search>")],
    Discriminator(_object_tag),
]
ToolsIn: TypeAlias = Annotated[list[ToolIn], Field(max_length=128)]


class FunctionName(Body):
    name: str


class NamedTool(Body):
    type: Literal["function"]
    function: FunctionName


ToolChoiceIn: TypeAlias = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("<string>")]
    | Annotated[NamedTool, Tag("<function>")]
    | Annotated[OtherTool, Tag("<code_interpreter>")]
    | Annotated[OtherTool, Tag("<file_search>")],
    Discriminator(_string_or_object_tag),
]


class PlainFormat(Body):
    type: Literal["text", "json_object"]


class JsonSchema(Body):
    model_config = ConfigDict(extra="forbid", strict=True, serialize_by_alias=True)

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    schema_: Json | None = Field(default=None, alias="schema")
    strict: bool | None = None


class SchemaFormat(Body):
    type: Literal["json_schema"]
    json_schema: JsonSchema


FormatIn: TypeAlias = Annotated[
    Annotated[Literal["auto"], Tag("<string>")]
    | Annotated[PlainFormat, Tag("<text>")]
    | Annotated[PlainFormat, Tag("<json_object>")]
    | Annotated[SchemaFormat, Tag("<json_schema>")],
    Discriminator(_string_or_object_tag),
]

# Assistants


class _AssistantFields(Body):
    name: Annotated[str, Field(max_length=256)] | None = None
    description: Annotated[str, Field(max_length=512)] | None = None
    instructions: Instructions | None = None
    tools: ToolsIn | None = None
    tool_resources: Json | None = None
    metadata: Metadata | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    response_format: FormatIn | None = None
    reasoning_effort: Effort | None = None


class CreateAssistant(_AssistantFields):
    model: str


class ModifyAssistant(_AssistantFields):
    model: str = ""


# Threads and messages


class CreateMessage(Body):
    role: Literal["user", "assistant"]
    content: ContentIn
    attachments: list[Json] | None = None
    metadata: Metadata | None = None


class ModifyMessage(Body):
    metadata: Metadata | None = None


class CreateThread(Body):
    messages: list[CreateMessage] | None = None
    tool_resources: Json | None = None
    metadata: Metadata | None = None


class ModifyThread(Body):
    tool_resources: Json | None = None
    metadata: Metadata | None = None


# Runs


class TruncationIn(Body):
    type: Literal["auto", "last_messages"]
    last_messages: Annotated[int, Field(ge=1)] | None = None


class _RunFields(Body):
    assistant_id: str
    model: str | None = None
    instructions: Instructions | None = None
    tools: ToolsIn | None = None
    metadata: Metadata | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    stream: bool | None = None
    max_prompt_tokens: Annotated[int, Field(ge=256)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=256)] | None = None
    truncation_strategy: TruncationIn | None = None
    tool_choice: ToolChoiceIn | None = None
    parallel_tool_calls: bool | None = None
    response_format: FormatIn | None = None
    # Ours: a strategy that OpenAI has no word for, as people write it.
    clew_truncation: str | None = None


class CreateRun(_RunFields):
    additional_instructions: Instructions | None = None
    additional_messages: list[CreateMessage] | None = None
    reasoning_effort: Effort | None = None


class CreateThreadAndRun(_RunFields):
    thread: CreateThread | None = None
    tool_resources: Json | None = None


class ModifyRun(Body):
    metadata: Metadata | None = None


class ToolOutputIn(Body):
    tool_call_id: str
    output: str | None = None


class SubmitToolOutputs(Body):
    tool_outputs: list[ToolOutputIn]
    stream: bool | None = None
