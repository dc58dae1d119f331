"""What answers in place of the world when a recorded run is played again: a provider, and tools."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from clew.engine.replaying.recordings import is_outcome, is_providers
from clew.engine.tools import Result, ServerTool, Toolbox, ToolCallInfo
from clew.errors import Misconfigured, ProviderFailed
from clew.events.base import Event
from clew.events.model import ModelAnswered, ModelFailed
from clew.events.run import RunConfig
from clew.events.tool import ToolFailed, ToolInDoubt, ToolReturned
from clew.log import Log
from clew.providers.base import ModelInfo, Piece, Prompt, ReasoningPiece, UsageSoFar
from clew.providers.renderers import RENDERERS

if TYPE_CHECKING:
    from clew.engine.replaying.rehearsing import Rehearsal


class RecordedProvider:
    """Gives back what was recorded. It renders as the recorded run did, so that the digests can be compared."""

    name = "recorded"

    def __init__(self, play: Rehearsal) -> None:
        self.renderer = next(iter(RENDERERS))
        self._play = play

    @property
    def origin(self) -> str | None:
        context = self._play.recording.context(self._play.version)
        return context.origin if context is not None else None

    def render(self, prompt: Prompt) -> bytes:
        context = self._play.recording.context(self._play.version)
        self.renderer = context.renderer if context is not None else self.renderer
        render = RENDERERS.get(self.renderer)
        if render is None:
            raise Misconfigured(f"no renderer is called {self.renderer!r}; this log was written by a newer Clew")
        return render(prompt)

    async def call(self, body: bytes) -> AsyncGenerator[Piece]:
        came = await self._play.answer(is_providers, "the model's answer")
        if isinstance(came, ModelFailed):
            if came.usage is not None:
                yield UsageSoFar(came.usage, came.usage_reported or {}, pricing_context=came.pricing_context)
            elif came.status is not None and came.usage_unknown:
                # It had begun to answer before it said no.
                yield ReasoningPiece()
            raise ProviderFailed(
                came.message,
                code=came.code,
                retryable=came.retryable,
                retry_after_seconds=came.retry_after_seconds,
                status=came.status,
                reached=came.usage_unknown,
            )
        assert isinstance(came, ModelAnswered)
        yield self._play.recording.answer(self._play.version + 1)

    async def models(self) -> list[ModelInfo]:
        return []

    async def close(self) -> None:
        """Nothing is open."""


class RecordedTools(Toolbox):
    """Tools as they were declared when the run was recorded, which give back what they gave then."""

    def __init__(self, play: Rehearsal) -> None:
        super().__init__()
        self._play = play

    def get(self, name: str) -> ServerTool | None:
        return self._play.recording.tool(name, self._play.version)

    def for_run(self, config: RunConfig, log: Log) -> Toolbox:
        """What stood in for tools then is recorded, too."""
        return self

    async def execute(self, tool: ServerTool, arguments: str, info: ToolCallInfo) -> Result:
        def mine(event: Event) -> bool:
            return is_outcome(event) and getattr(event, "tool_call_id", None) == info.tool_call_id

        came = await self._play.answer(mine, f"the result of {tool.name}")
        match came:
            case ToolReturned():
                return Result(came.output, came.duration_ms or 0.0, bytes_whole=came.bytes_whole)
            case ToolInDoubt(reason=reason):
                return Result(reason, 0.0, "timeout", unknown=True)
            case ToolFailed(reason=("error" | "timeout" | "arguments") as failure):
                return Result(came.output, came.duration_ms or 0.0, failure)
            case _:
                raise AssertionError(f"{came} is no outcome")
