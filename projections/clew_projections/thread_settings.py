"""What a thread says of the runs on it, and which agent has it: for dialects where that is the thread's to say."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from clew.events.base import Recorded
from clew.events.run import RunHandedOff
from clew.events.thread import ThreadConfigured, ThreadSettings
from clew.log import Reader
from clew.projecting import Fold, documents, moment


class SettingsView(BaseModel):
    """`handed_to` is the agent that has the thread now, if it was handed over since it was configured."""

    model_config = ConfigDict(frozen=True)

    thread_id: str
    settings: ThreadSettings | None = None
    handed_to: str | None = None


SETTINGS = documents("thread_settings", SettingsView, key=("thread_id",), columns={"thread_id": "text not null"})
fold = Fold(name="thread_settings", version=1, table=SETTINGS)
projection = fold.projection


@fold.on(ThreadConfigured)
def _(view: SettingsView | None, recorded: Recorded[ThreadConfigured]) -> SettingsView:
    return SettingsView(thread_id=recorded.stream, settings=recorded.event.settings)


@fold.on(RunHandedOff)
def _(view: SettingsView | None, recorded: Recorded[RunHandedOff]) -> SettingsView:
    settings = view.settings if view is not None else None
    return SettingsView(thread_id=recorded.stream, settings=settings, handed_to=recorded.event.assistant_id)


def settings(reader: Reader, stretches: Sequence[tuple[str, int | None]]) -> ThreadSettings | None:
    """Those of a thread. `stretches` are the streams of its history, the newest first, each with the position as of
    which it is a part of it, None for now. None: no dialect has ever said so.
    """
    handed_to: str | None = None
    for stream, as_of in stretches:
        now, at = moment(as_of)
        rows = reader.rows(f"select doc from thread_settings where thread_id = ? and {now}", (stream, *at))
        if not rows:
            continue
        view = SETTINGS.read(rows[0][0])
        handed_to = handed_to or view.handed_to
        if view.settings is not None:
            return _handed(view.settings, handed_to)
    return ThreadSettings(assistant_id=handed_to) if handed_to is not None else None


def _handed(settings: ThreadSettings, to: str | None) -> ThreadSettings:
    """The next agent has instructions and tools of its own; what the thread is called does not change."""
    if to is None:
        return settings
    return ThreadSettings(
        assistant_id=to,
        name=settings.name,
        description=settings.description,
        json_metadata=settings.json_metadata,
    )
