"""The command line inside of the test's own process: what it prints, and how it refuses."""

from __future__ import annotations

import json
from typing import Any

from typer.testing import CliRunner

from clew.cli import app
from clew.cli.common import console
from clew.errors import ClewError

_WIDTH_COLUMNS = 200
# An environment with nothing of Clew's own set.
_ENVIRONMENT = {
    "COLUMNS": str(_WIDTH_COLUMNS),
    **dict.fromkeys(("CLEW_STORE", "CLEW_PRICES", "CLEW_CONTEXT_TOKENS", "CLEW_DEFAULT_PROVIDER"), None),
}


def invoked(*arguments: str, store: str | None = None) -> tuple[int, str]:
    """Its exit code, and what it printed."""
    more = ["--store", store] if store is not None else []
    # A console that was made under a runner that says how wide it is, such as pytest-xdist's, stays as wide as that.
    console.width = _WIDTH_COLUMNS
    done = CliRunner().invoke(app, [*arguments, *more], env=_ENVIRONMENT)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def shown(*arguments: str, store: str | None = None) -> str:
    code, told = invoked(*arguments, store=store)
    assert code == 0, told
    return told


def shown_json(*arguments: str, store: str | None = None) -> Any:
    return json.loads(shown(*arguments, "--json", store=store))


def refused(*arguments: str, store: str | None = None) -> str:
    """What `main` would print as one line."""
    try:
        told = invoked(*arguments, store=store)
    except ClewError as error:
        return str(error)
    raise AssertionError(f"it was not refused: {told}")
