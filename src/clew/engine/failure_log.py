"""What an operator is told of model calls and runs that fail: one line each, by the process that appended it.

The lines say what failed and with which code, but not the provider's message, which may quote the prompt.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from clew.errors import ClewError
from clew.events.base import Event, Recorded
from clew.events.model import ModelCalled, ModelFailed
from clew.events.run import RunExpired, RunFailed, RunIncomplete
from clew.log import Log
from clew.rules.standing import REACHED, TAKEN

logger = logging.getLogger(__name__)

_TOLD = (ModelFailed, RunFailed, RunExpired, RunIncomplete)
# Calls that were not sent, and those that were given up because their run ended.
_NOT_FAILURES = frozenset((REACHED, TAKEN, "run_cancelled", "run_expired", "run_failed", "run_incomplete"))


class FailureLog:
    """Hears what this process appends to a log."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def committed(self, recorded: Sequence[Recorded[Event]]) -> None:
        for one in recorded:
            if isinstance(one.event, _TOLD) and logger.isEnabledFor(logging.WARNING):
                self._tell(one)

    def _tell(self, recorded: Recorded[Event]) -> None:
        thread_id, event = recorded.stream, recorded.event
        match event:
            case ModelFailed(code=code) if code not in _NOT_FAILURES:
                self._tell_of_call(recorded, event)
            case RunFailed(run_id=run_id, code=code):
                logger.warning("run failed: thread=%s run=%s code=%s", thread_id, run_id, code)
            case RunExpired(run_id=run_id):
                logger.warning("run expired: thread=%s run=%s", thread_id, run_id)
            case RunIncomplete(run_id=run_id, reason=reason):
                logger.warning("run incomplete: thread=%s run=%s reason=%s", thread_id, run_id, reason)
            case _:
                pass

    def _tell_of_call(self, recorded: Recorded[Event], failed: ModelFailed) -> None:
        provider, model = self._asked(recorded)
        logger.warning(
            "model call failed: thread=%s run=%s provider=%s model=%s attempt=%d code=%s status=%s again=%s seconds=%s",
            recorded.stream,
            failed.run_id,
            provider,
            model,
            failed.attempt,
            failed.code,
            failed.status or "-",
            "no" if failed.final else "yes",
            f"{failed.duration_ms / 1000:.3f}" if failed.duration_ms is not None else "-",
        )

    def _asked(self, recorded: Recorded[Event]) -> tuple[str, str]:
        """Provider and model. The process that appends a failure need not be the one that made the call."""
        kinds = (ModelCalled.kind,)
        try:
            with self._log.reading() as reader:
                found = reader.stream(recorded.stream, upto=recorded.version, kinds=kinds, newest_first=True, limit=1)
        except ClewError:
            return "?", "?"
        event = found[0].event if found else None
        return (event.provider, event.model) if isinstance(event, ModelCalled) else ("?", "?")
