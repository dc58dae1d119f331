"""What a path or body names, as clients see it."""

from __future__ import annotations

from clew.dialects.openai_assistants.objects import Object, run_object
from clew.log import Reader
from clew.serving.finding import config_of, waiting_calls
from clew_projections.run_view import RunView

# Who asked, in the log.
ACTOR = DIALECT = "openai"


def shown_run(reader: Reader, run: RunView, as_of: int | None = None) -> Object:
    """The run as clients see it, with the calls that it waits for."""
    return run_object(run, config_of(reader, run), waiting_calls(reader, run, as_of))
