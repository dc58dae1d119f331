"""From what a request says of how to answer to the configuration of a run, and what is refused of it."""

from __future__ import annotations

from typing import Any, cast

from clew.dialects.anthropic_messages.errors import not_offered, rejected, unsupported_request
from clew.dialects.anthropic_messages.requests import CountTokens, CreateMessage, NotOffered, SystemIn, ToolIn
from clew.engine.engine import Engine
from clew.engine.models import resolve
from clew.events.content import JsonObject
from clew.events.run import Limits, RunConfig, Sampling, Tool, ToolChoice, Truncation
from clew.serving.http import Call

PROVIDER = "anthropic"
# What the official SDKs have sent since their version 2, and what they sent before.
_NEWEST, _OLDER = "2026-10-21", ("2023-06-01", "2023-01-01")
# Fields that a thread of the real API does not go together with either.
_NOT_WITH_THREADS = ("context_management", "fallbacks")
_TOOL_FIELDS = frozenset(
    ("name", "type", "description", "input_schema", "strict", "cache_control", "eager_input_streaming")
)
# Betas that allow what a request may then say; what is not offered of that is refused where it is said.
_BETAS = frozenset(
    (
        *("message-threads-2026-08-12", "message-batches-2024-09-24", "prompt-caching-2024-07-31", "pdfs-2024-09-25"),
        *("token-counting-2024-11-01", "token-efficient-tools-2025-02-19", "output-128k-2025-02-19"),
        *("output-300k-2026-03-24", "context-1m-2025-08-07", "extended-cache-ttl-2025-04-11"),
        *("interleaved-thinking-2025-05-14", "fine-grained-tool-streaming-2025-05-14", "files-api-2025-04-14"),
        *("computer-use-2024-10-22", "computer-use-2025-01-24", "computer-use-2025-11-24"),
        *("mcp-client-2025-04-04", "mcp-client-2025-11-20", "mcp-client-2026-09-15"),
        *("code-execution-2025-05-22", "skills-2025-10-02", "context-management-2025-06-27"),
        *("model-context-window-exceeded-2025-08-26", "fast-mode-2026-02-01", "advisor-tool-2026-03-01"),
        *("structured-outputs-2025-11-13", "task-budgets-2026-03-13", "thinking-token-count-2026-05-13"),
        *("compact-2026-01-12", "compact-2026-09-04", "inline-tools-2026-09-15", "agent-memory-2026-07-22"),
        *("mid-conversation-tool-changes-2026-07-01", "mid-conversation-output-config-2026-07-01"),
        *("mid-conversation-system-clear-at-2026-08-21", "thinking-display-updates-2026-08-18"),
        *("server-side-fallback-2026-06-01", "server-side-fallback-2026-07-01", "cache-diagnosis-2026-04-07"),
        *("fallback-credit-2026-06-01", "fallback-credit-2026-07-01", "claude-code-20250219", "oauth-2025-04-20"),
    )
)


def check_request(call: Call, given: CountTokens) -> None:
    """Raises `Rejected` for what this server does not do, naming the field."""
    version = call.headers.get(b"anthropic-version", _OLDER[0].encode()).decode("latin-1")
    if version != _NEWEST and version not in _OLDER:
        raise rejected(f'anthropic-version: "{version}" is not a valid version')
    for header in (b"anthropic-user-profile-id", b"anthropic-workspace-id"):
        if header in call.headers:
            raise not_offered(header.decode())
    betas = call.headers.get(b"anthropic-beta", b"").decode("latin-1").split(",")
    for beta in filter(None, map(str.strip, betas)):
        if beta not in _BETAS:
            raise rejected(f"Unexpected value(s) `{beta}` for the `anthropic-beta` header, which this server lacks")
    thread = given.thread if isinstance(given, CreateMessage) else None
    said = [name for name in NotOffered.model_fields if getattr(given, name) is not None]
    if thread is not None and (features := [name for name in said if name in _NOT_WITH_THREADS]):
        raise unsupported_request(features)
    if said:
        raise not_offered(said[0])
    if given.speed == "fast":
        raise not_offered("speed", "'fast'")
    if given.output_config is not None and given.output_config.task_budget is not None:
        raise not_offered("output_config.task_budget")
    if isinstance(given, CreateMessage):
        _check_message(given, version)


def _check_message(given: CreateMessage, version: str) -> None:
    if given.max_tokens == 0:
        raise not_offered("max_tokens", "0, which only warms a cache,")
    if given.max_tokens < 1:
        raise rejected("max_tokens: Input should be greater than or equal to 1")
    if given.service_tier == "standard_only":
        raise not_offered("service_tier", "'standard_only'")
    for name in ("temperature", "top_p"):
        if version == _NEWEST and getattr(given, name) is not None:
            raise rejected(f"{name}: it is not supported in version {version}")


def config_of(engine: Engine, given: CreateMessage, hints: JsonObject) -> RunConfig:
    """Raises `Rejected`."""
    provider, model = resolve_model(engine, given.model)
    output = given.output_config
    effort = output.effort if output is not None else None
    choice = given.tool_choice
    return RunConfig(
        provider=provider,
        model=model,
        asked_model=given.model,
        instructions=instructions_of(given.system),
        tools=tools_of(given.tools or ()),
        tool_choice=_choice(given),
        parallel_tool_calls=not (choice is not None and choice.disable_parallel_tool_use),
        response_format=_format(given),
        sampling=Sampling(
            temperature=given.temperature,
            top_p=given.top_p,
            reasoning_effort=effort,
            stop=tuple(given.stop_sequences or ()),
        ),
        limits=Limits(steps=engine.settings.steps_max),
        # What was sent is what is shown: nothing is left out of it behind the client's back.
        truncation=Truncation(strategy="none"),
        stream=bool(given.stream),
        max_output_tokens=given.max_tokens,
        thinking=cast("JsonObject | None", given.thinking),
        hints=hints,
        default_provider=default_provider(engine),
    )


def default_provider(engine: Engine) -> str:
    """Where a bare name of a model goes: to Anthropic, if the operator has set that up."""
    return PROVIDER if PROVIDER in engine.providers else engine.settings.default_provider


def resolve_model(engine: Engine, asked: str) -> tuple[str, str]:
    return resolve(asked, engine.providers, default_provider(engine))


def instructions_of(system: SystemIn | None) -> str:
    if system is None or isinstance(system, str):
        return system or ""
    return "\n\n".join(block["text"] for block in system if block["text"])


def tools_of(given: list[ToolIn] | tuple[ToolIn, ...]) -> tuple[Tool, ...]:
    return tuple(_tool(dict(one), f"tools.{number}") for number, one in enumerate(given))


def _tool(given: dict[str, Any], at: str) -> Tool:
    if given.get("type") not in (None, "custom"):
        raise not_offered(at, f"a tool of type {given['type']!r}")
    for name in given.keys() - _TOOL_FIELDS:
        if given[name] not in (None, False, [], ["direct"]):
            raise not_offered(f"{at}.{name}")
    for name in ("name", "input_schema"):
        if given.get(name) is None:
            raise rejected(f"{at}.{name}: Field required")
    return Tool(
        type="function",
        name=given["name"],
        description=given.get("description"),
        parameters=given["input_schema"],
        strict=given.get("strict"),
    )


def _choice(given: CountTokens) -> ToolChoice | None:
    choice = given.tool_choice
    if choice is None or choice.type == "auto":
        return None
    if choice.type == "tool":
        if choice.name is None:
            raise rejected("tool_choice.name: Field required")
        return ToolChoice(mode="function", name=choice.name)
    return ToolChoice(mode="none" if choice.type == "none" else "required")


def _format(given: CountTokens) -> JsonObject | None:
    chosen = given.output_config.format if given.output_config is not None else None
    if chosen is None:
        return None
    described: JsonObject = {"name": "answer", "schema": chosen.schema_, "strict": True}
    return {"type": "json_schema", "json_schema": described}


def hints_of(given: CreateMessage) -> JsonObject:
    """What decides nothing and is kept: for whom it is asked, and where the prompt is to be cached."""
    hints: JsonObject = {}
    if given.metadata is not None and given.metadata.user_id is not None:
        hints["user_id"] = given.metadata.user_id
    marks = [*_marks("", given.cache_control)]
    if isinstance(given.system, list):
        marks += (one for n, block in enumerate(given.system) for one in _marks(f"system.{n}", block))
    marks += (one for n, tool in enumerate(given.tools or ()) for one in _marks(f"tools.{n}", tool))
    for turn, message in enumerate(given.messages):
        if isinstance(message["content"], list):
            for number, part in enumerate(message["content"]):
                marks += _marks(f"messages.{turn}.content.{number}", part)
    if marks:
        hints["cache_control"] = marks
    return hints


def _marks(at: str, holder: Any) -> list[Any]:
    """`holder` is a block, a tool, or, without a place, the mark itself."""
    mark = holder if not at else holder.get("cache_control")
    return [{"at": at, **mark}] if mark is not None else []
