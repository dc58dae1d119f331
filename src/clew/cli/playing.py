"""Playing a run again in the terminal: at the pace it had, faster, or by hand, forward and back."""

from __future__ import annotations

import fnmatch
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.markup import escape

from clew import exact_json
from clew.cli.common import clock, console, short
from clew.errors import Misconfigured, NotFound
from clew.events.base import Event, Recorded
from clew.events.content import plain_text
from clew.events.message import MessageAppended
from clew.events.model import ContextAssembled, ContextTruncated, ModelAnswered, ModelCalled, ModelFailed
from clew.events.run import RunFailed, RunIncomplete, RunOver, RunQueued, RunReconfigured, RunStarted
from clew.events.tool import ToolCalled, ToolFailed, ToolInDoubt, ToolReturned, ToolSettled, ToolStarted
from clew.log import Log
from clew.server.sse import recorded_json
from clew_projections import run_view
from clew_projections.run_view import RunView

_PAGE_EVENTS = 500
# What stands before the words of an event in a line.
_COLUMNS_BEFORE = 56
_KEYS = "Enter: on · b: back · c: go on · NUMBER: to that event · d: all of it · q: end"
_STYLES = {"run": "bold cyan", "model": "magenta", "context": "magenta", "tool": "yellow", "message": "green"}


@dataclass(frozen=True)
class Scene:
    """An event, and the run as it was after it."""

    recorded: Recorded[Event]
    run: RunView


def scenes(log: Log, run_id: str) -> list[Scene]:
    """From the queueing of the run to its end, or to where it is now. Raises `NotFound`."""
    found: list[Scene] = []
    with log.reading() as reader:
        view = run_view.run(reader, run_id)
        if view is None:
            raise NotFound(noun="run", id=run_id)
        run: RunView | None = None
        version = view.queued_version - 1
        while page := reader.stream(view.thread_id, after=version, limit=_PAGE_EVENTS):
            for recorded in page:
                run = run_view.run_after(run, recorded)
                assert run is not None, "the first event of a run queues it"
                found.append(Scene(recorded, run))
                if isinstance(recorded.event, RunOver) and recorded.event.run_id == run_id:
                    return found
            version = page[-1].version
    return found


def play(log: Log, run_id: str, *, speed: float, by_hand: bool, breaks: Sequence[str], as_json: bool) -> None:
    for wanted in breaks:
        if not fnmatch.filter(Event.kinds, wanted):
            raise Misconfigured(f"--break {wanted}: no event is called so; try tool.called, model.* or run.completed")
    found = scenes(log, run_id)
    if as_json:
        for scene in found:
            after = (scene.recorded.at - found[0].recorded.at) / 1_000_000
            line = {"after_seconds": after, "status": scene.run.status, **recorded_json(scene.recorded)}
            sys.stdout.write(exact_json.dumps(line).decode() + "\n")
        return
    first = found[0].recorded
    console.print(f"[bold]{run_id}[/]  {len(found)} events, queued {clock(first.at)}")
    if by_hand:
        console.print(f"[dim]{_KEYS}[/]")
    _Player(found, speed, by_hand, breaks).play()
    if not isinstance(found[-1].recorded.event, RunOver):
        console.print(f"[dim]so far; the run is {found[-1].run.status}[/]")


class _Player:
    def __init__(self, found: Sequence[Scene], speed: float, by_hand: bool, breaks: Sequence[str]) -> None:
        self._scenes = found
        self._speed = speed
        self._by_hand = by_hand
        self._breaks = breaks
        self._place = 0

    def play(self) -> None:
        while 0 <= self._place < len(self._scenes):
            self._show()
            kind = self._scenes[self._place].recorded.event.kind
            stops = any(fnmatch.fnmatch(kind, wanted) for wanted in self._breaks)
            if self._by_hand or stops:
                if not self._asked():
                    return
            else:
                self._place += 1
                self._wait()

    def _wait(self) -> None:
        """As long as it was between the two events."""
        if self._place < len(self._scenes):
            before, after = (self._scenes[place].recorded.at for place in (self._place - 1, self._place))
            time.sleep((after - before) / 1_000_000 / self._speed)

    def _show(self) -> None:
        scene = self._scenes[self._place]
        recorded = scene.recorded
        after = (recorded.at - self._scenes[0].recorded.at) / 1_000_000
        style = _STYLES.get(recorded.event.kind.partition(".")[0], "bold")
        words = short(told(recorded.event), max(40, console.width - _COLUMNS_BEFORE))
        console.print(
            f"[dim]{self._place + 1:>4}  {after:>9.3f} s  {scene.run.status:<15}[/]"
            f"  [{style}]{recorded.event.kind:<18}[/]  {escape(words)}"
        )

    def _asked(self) -> bool:
        """Whether to go on, after moving to where one is told to go."""
        while True:
            try:
                said = console.input("[dim]> [/]").strip()
            except EOFError:
                return False
            match said:
                case "":
                    self._place += 1
                case "b":
                    self._place = max(0, self._place - 1)
                case "c":
                    self._by_hand = False
                    self._place += 1
                case "d":
                    data = self._scenes[self._place].recorded.event.model_dump_json(indent=2, exclude_defaults=True)
                    console.print(data, markup=False, style="dim")
                    continue
                case "q":
                    return False
                case _ if said.isdecimal() and 0 < int(said) <= len(self._scenes):
                    self._place = int(said) - 1
                case _:
                    console.print(f"[dim]{_KEYS}[/]")
                    continue
            return True


def told(event: Event) -> str:
    """What of an event one wants to see in a line."""
    match event:
        case RunQueued(config=config) | RunReconfigured(config=config):
            return f"{config.provider}/{config.model}, truncation {config.truncation.strategy}"
        case RunStarted(worker=worker, attempt=attempt, fence=fence):
            return f"by {worker} (time {attempt}, fence {fence})"
        case ContextAssembled(manifest=manifest, tokens=tokens):
            return f"{manifest.items} items, {tokens.total} tokens"
        case ContextTruncated() as cut:
            return f"{cut.items_left_out} items left out for {cut.limit_name} {cut.limit}"
        case ModelCalled() | ModelAnswered() | ModelFailed():
            return _of_model(event)
        case MessageAppended(role=role, content=content):
            return f"{role}: {plain_text(content)}"
        case RunFailed(code=code, message=message):
            return f"{code}: {message}"
        case RunIncomplete(reason=reason):
            return reason
        case RunOver(usage=usage):
            return f"{usage.input} tokens in, {usage.output} out"
        case _:
            return _of_tool(event)


def _of_model(event: ModelCalled | ModelAnswered | ModelFailed) -> str:
    match event:
        case ModelCalled(attempt=attempt, model=model):
            return f"{model}, attempt {attempt}"
        case ModelAnswered(finish_reason=reason, duration_ms=duration):
            return f"{reason} after {duration:.0f} ms"
        case ModelFailed(code=code, message=message):
            return f"{code}: {message}"


def _of_tool(event: Event) -> str:
    match event:
        case ToolCalled(name=name, arguments=arguments, executor=executor):
            return f"{name}({arguments}) for the {executor}"
        case ToolStarted(attempt=attempt, effect=effect):
            return f"{effect}, attempt {attempt}"
        case ToolReturned(output=output) | ToolFailed(output=output):
            return output
        case ToolInDoubt(reason=reason):
            return reason
        case ToolSettled(outcome=outcome, by=by, output=output):
            return f"{outcome}, by {by}: {output}"
        case _:
            return event.model_dump_json(exclude={"run_id", "fence"}, exclude_defaults=True)
