"""Forks that run: a thread goes on otherwise from some version, or a run is made anew from one of its steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

from clew.desk import Desk, Done, Key
from clew.engine.forking import FirstRun, Otherwise, fork, known_version
from clew.engine.otherwise import Changes, changed, config_of, run_before
from clew.errors import NotFound, Refused
from clew.events.base import Recorded
from clew.events.content import Metadata
from clew.events.model import ContextAssembled
from clew.events.run import Rerun, RunQueued, Truncation
from clew.log import Log, Reader
from clew.providers.base import Provider
from clew.rules.state import Thread
from clew.settings import Settings
from clew_projections import run_view
from clew_projections.run_view import RunView

_PAGE_EVENTS = 500


@dataclass(frozen=True)
class Forks:
    """Forks threads of one log. `providers` and `settings` say what models there are."""

    log: Log
    desk: Desk
    providers: Mapping[str, Provider]
    settings: Settings

    async def fork(
        self,
        thread_id: str,
        *,
        version: int | None = None,
        edits: Sequence[Otherwise] = (),
        metadata: Metadata | None = None,
        truncation: Truncation | Literal["default"] | None = None,
        run: Changes | None = None,
        dialect: str = "library",
        actor: str | None = None,
        key: Key | None = None,
    ) -> Done[Thread]:
        """Fork a thread after its event `version`, or as it is now; with `run` the fork runs at once.

        It runs as the newest run before that point did, or else the first one after it, but for what `run` says
        otherwise. Raises `NotFound`, and `Refused` when nothing has run yet and no assistant or model is named.
        """
        first = None
        if run is not None and run.truncation is None and isinstance(truncation, Truncation):
            run = replace(run, truncation=truncation)
        if run is not None:
            with self.log.reading() as reader:
                before = run_before(reader, thread_id, known_version(reader, thread_id, version))
                base = config_of(reader, before) if before is not None else None
                config = changed(reader, base, run, self.providers, self.settings)
            first = FirstRun(config=config, dialect=dialect, expires_at=self._expiry())
        return await fork(
            self.log,
            self.desk,
            thread_id,
            dialect=dialect,
            version=version,
            edits=edits,
            metadata=metadata,
            truncation=truncation,
            run=first,
            actor=actor,
            key=key,
        )

    async def rerun(
        self,
        run_id: str,
        changes: Changes | None = None,
        *,
        step: int = 1,
        tools: Literal["recorded", "again", "stub"] = "recorded",
        stub: str = "",
        edits: Sequence[Otherwise] = (),
        dialect: str = "library",
        actor: str | None = None,
        key: Key | None = None,
    ) -> Done[Thread]:
        """Make a run anew for real, in a fork, from what model call number `step` of it was shown.

        Everything is as it was recorded but for `changes` and `edits`. Raises `NotFound` and `Refused`.
        """
        with self.log.reading() as reader:
            run = run_view.run(reader, run_id)
            if run is None:
                raise NotFound(noun="run", id=run_id)
            version = _before_step(reader, run, step)
            config = changed(reader, config_of(reader, run), changes or Changes(), self.providers, self.settings)
            queued = reader.event(run.queued).event
            assert isinstance(queued, RunQueued)
        again = Rerun(run_id=run_id, after_version=version, tools=tools, stub=stub if tools == "stub" else "")
        first = FirstRun(
            config=config.model_copy(update={"rerun": again}),
            dialect=queued.dialect,
            expires_at=self._expiry(),
            metadata=run.metadata,
        )
        return await fork(
            self.log,
            self.desk,
            run.thread_id,
            dialect=dialect,
            version=version,
            edits=edits,
            run=first,
            actor=actor,
            key=key,
        )

    def _expiry(self) -> int | None:
        seconds = self.settings.run_expires_seconds
        return None if seconds is None else self.log.now() + seconds * 1_000_000


def _before_step(reader: Reader, run: RunView, step: int) -> int:
    """The version that the run's thread had when the context of the step was read, or before the run for the first."""
    found = list(islice(_contexts(reader, run), step))
    if len(found) == step:
        as_of = found[-1].event.manifest.as_of
        return found[-1].version - 1 if as_of is None else reader.version(run.thread_id, as_of)
    if step == 1:
        return run.queued_version - 1
    raise Refused(f"{run.run_id} has {len(found)} steps; there is no step {step}")


def _contexts(reader: Reader, run: RunView) -> Iterator[Recorded[ContextAssembled]]:
    after, kinds = run.queued_version, (ContextAssembled.kind, RunQueued.kind)
    while page := reader.stream(run.thread_id, after=after, limit=_PAGE_EVENTS, kinds=kinds):
        for recorded in page:
            if isinstance(recorded.event, RunQueued):
                return
            yield recorded  # type: ignore[misc]
        after = page[-1].version


def run_of(done: Done[Thread]) -> str | None:
    """The run that a fork began with."""
    events = (recorded.event for recorded in done.events)
    return next((event.run_id for event in events if isinstance(event, RunQueued)), None)
