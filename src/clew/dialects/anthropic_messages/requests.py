"""What clients may send. Nothing unknown gets in, and no value is turned into another type on the way.

Blocks stay plain objects: a history of a thousand messages is sent with every request, and most of it is only to be
known again. What this server does not offer is a field here all the same, so that the refusal can name it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, JsonValue, Tag
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

MESSAGES_MAX = 100_000
# Far above what any schema or argument needs, and far below what readers of stored JSON refuse.
_DEPTH_MAX = 64


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
    raise PydanticCustomError("nested_too_deeply", "Input is nested too deeply")


def _text_or_blocks(value: Any) -> str | None:
    return "<text>" if isinstance(value, str) else "<blocks>" if isinstance(value, list) else None


_CLOSED = ConfigDict(extra="forbid", strict=True)
_OPEN = ConfigDict(extra="allow", strict=True)
# The values are JSON already: of a `JsonValue` pydantic would round the numbers.
Json: TypeAlias = Annotated[dict[str, Any], BeforeValidator(_not_too_deep)]


class Body(BaseModel):
    model_config = _CLOSED


class CacheControl(TypedDict):
    __pydantic_config__ = _CLOSED  # type: ignore[misc]

    type: Literal["ephemeral"]
    ttl: NotRequired[Literal["5m", "1h"] | None]


# Blocks


class TextBlock(TypedDict):
    __pydantic_config__ = _CLOSED  # type: ignore[misc]

    type: Literal["text"]
    text: str
    citations: NotRequired[list[Json] | None]
    cache_control: NotRequired[CacheControl | None]


class Base64Source(TypedDict):
    __pydantic_config__ = _CLOSED  # type: ignore[misc]

    type: Literal["base64"]
    media_type: str
    data: str


class UrlSource(TypedDict):
    __pydantic_config__ = _CLOSED  # type: ignore[misc]

    type: Literal["url"]
    url: str


class FileSource(TypedDict):
    __pydantic_config__ = _CLOSED  # type: ignore[misc]

    type: Literal["file"]
    file_id: str


class ImageBlock(TypedDict):
    __pydantic_config__ = _CLOSED  # type: ignore[misc]

    type: Literal["image"]
    source: Annotated[Base64Source | UrlSource | FileSource, Discriminator("type")]
    cache_control: NotRequired[CacheControl | None]


class TextSource(TypedDict):
    __pydantic_config__ = _CLOSED  # type: ignore[misc]

    type: Literal["text"]
    media_type: str
    data: str


class ContentSource(TypedDict):
    __pydantic_config__ = _CLOSED  # type: ignore[misc]

    type: Literal["content"]
    content: Annotated[
        Annotated[str, Tag("<text>")]
        | Annotated[list[Annotated[TextBlock | ImageBlock, Discriminator("type")]], Tag("<blocks>")],
        Discriminator(_text_or_blocks),
    ]


class DocumentBlock(TypedDict):
    __pydantic_config__ = _CLOSED  # type: ignore[misc]

    type: Literal["document"]
    source: Annotated[Base64Source | TextSource | ContentSource | UrlSource | FileSource, Discriminator("type")]
    title: NotRequired[str | None]
    context: NotRequired[str | None]
    citations: NotRequired[Json | None]
    cache_control: NotRequired[CacheControl | None]


class ThinkingBlock(TypedDict):
    __pydantic_config__ = _CLOSED  # type: ignore[misc]

    type: Literal["thinking"]
    thinking: str
    signature: str


class RedactedThinkingBlock(TypedDict):
    __pydantic_config__ = _CLOSED  # type: ignore[misc]

    type: Literal["redacted_thinking"]
    data: str


class ToolUseBlock(TypedDict):
    __pydantic_config__ = _CLOSED  # type: ignore[misc]

    type: Literal["tool_use"]
    id: Annotated[str, Field(min_length=1, max_length=256)]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    input: Json
    cache_control: NotRequired[CacheControl | None]
    caller: NotRequired[Json | None]
    toolset_name: NotRequired[str | None]


class ServedToolUseBlock(TypedDict):
    """A call that a server made by itself: ours, when `server_name` says so."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]

    type: Literal["mcp_tool_use"]
    id: Annotated[str, Field(min_length=1, max_length=256)]
    name: str
    input: Json
    server_name: str
    cache_control: NotRequired[CacheControl | None]


class KeptBlock(TypedDict):
    """Kept byte for byte, for the provider that understands it."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]

    type: Literal[
        "search_result",
        "server_tool_use",
        "web_search_tool_result",
        "web_fetch_tool_result",
        "advisor_tool_result",
        "code_execution_tool_result",
        "bash_code_execution_tool_result",
        "text_editor_code_execution_tool_result",
        "tool_search_tool_result",
        "tool_reference",
    ]


class RefusedBlock(TypedDict):
    """Known here so that the refusal can name it."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]

    type: Literal[
        "compaction",
        "fallback",
        "container_upload",
        "tool_addition",
        "tool_removal",
        "mcp_tool_listing",
        "browser_state",
    ]


ResultPart: TypeAlias = Annotated[
    TextBlock | ImageBlock | DocumentBlock | KeptBlock | RefusedBlock, Discriminator("type")
]
ResultContent: TypeAlias = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[list[ResultPart], Tag("<blocks>")], Discriminator(_text_or_blocks)
]


class ToolResultBlock(TypedDict):
    __pydantic_config__ = _CLOSED  # type: ignore[misc]

    type: Literal["tool_result"]
    tool_use_id: str
    content: NotRequired[ResultContent]
    is_error: NotRequired[bool | None]
    cache_control: NotRequired[CacheControl | None]
    toolset_name: NotRequired[str | None]


class ServedToolResultBlock(TypedDict):
    __pydantic_config__ = _CLOSED  # type: ignore[misc]

    type: Literal["mcp_tool_result"]
    tool_use_id: str
    content: NotRequired[ResultContent]
    is_error: NotRequired[bool | None]
    cache_control: NotRequired[CacheControl | None]


Block: TypeAlias = Annotated[
    TextBlock
    | ImageBlock
    | DocumentBlock
    | ThinkingBlock
    | RedactedThinkingBlock
    | ToolUseBlock
    | ToolResultBlock
    | ServedToolUseBlock
    | ServedToolResultBlock
    | KeptBlock
    | RefusedBlock,
    Discriminator("type"),
]


class MessageIn(TypedDict):
    __pydantic_config__ = _CLOSED  # type: ignore[misc]

    role: Literal["user", "assistant", "system"]
    content: Annotated[
        Annotated[str, Tag("<text>")] | Annotated[list[Block], Tag("<blocks>")], Discriminator(_text_or_blocks)
    ]


# Tools


class ToolIn(TypedDict):
    """A function of the client's. Other types of tools run on Anthropic's servers, or only its models know them."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]

    name: NotRequired[str]
    type: NotRequired[str | None]
    description: NotRequired[str]
    input_schema: NotRequired[Json]
    strict: NotRequired[bool | None]
    cache_control: NotRequired[CacheControl | None]


class ToolChoiceIn(Body):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


# How to answer


class OutputFormat(Body):
    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["json_schema"]
    schema_: Annotated[Json, Field(alias="schema")]


class OutputConfig(Body):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None
    task_budget: JsonValue = None


class ThinkingIn(TypedDict):
    """Passed on as it is to whom it is meant for, who checks it."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]

    type: Literal["enabled", "disabled", "adaptive", "between_tools"]


class MetadataIn(Body):
    user_id: Annotated[str, Field(max_length=512)] | None = None


class CreateThreadIn(Body):
    type: Literal["create"]


class ContinueThreadIn(Body):
    type: Literal["continue"]
    previous_message_id: str


ThreadIn: TypeAlias = Annotated[CreateThreadIn | ContinueThreadIn, Discriminator("type")]
SystemIn: TypeAlias = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[list[TextBlock], Tag("<blocks>")], Discriminator(_text_or_blocks)
]


class NotOffered(Body):
    """Fields of the API that are answered with a refusal that names them, whatever they say."""

    billing_policy: JsonValue = None
    compaction: JsonValue = None
    container: JsonValue = None
    context_management: JsonValue = None
    diagnostics: JsonValue = None
    fallback_credit_token: JsonValue = None
    fallbacks: JsonValue = None
    inference_geo: JsonValue = None
    mcp_servers: JsonValue = None
    top_k: JsonValue = None


class CountTokens(NotOffered):
    model: Annotated[str, Field(min_length=1)]
    messages: Annotated[list[MessageIn], Field(max_length=MESSAGES_MAX)]
    system: SystemIn | None = None
    tools: list[ToolIn] | None = None
    tool_choice: ToolChoiceIn | None = None
    thinking: Annotated[ThinkingIn, BeforeValidator(_not_too_deep)] | None = None
    output_config: OutputConfig | None = None
    cache_control: CacheControl | None = None
    speed: Literal["standard", "fast"] | None = None


class CreateMessage(CountTokens):
    max_tokens: int
    stream: bool | None = None
    stop_sequences: Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=8_191)] | None = None
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    metadata: MetadataIn | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    thread: ThreadIn | None = None
