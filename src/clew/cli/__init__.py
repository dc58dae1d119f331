"""The command line."""

from __future__ import annotations

import sys

import typer

from clew.cli import (
    auditing,
    billing,
    budgeting,
    chatting,
    forking,
    keeping,
    proving,
    reading,
    reconciling,
    replaying,
    serving,
    truncating,
    what_if,
)
from clew.errors import Misconfigured, Refused, StoreFailed, StoreLost, Unusable

app = typer.Typer(
    name="clew",
    help="Keeps the conversation threads of LLM agents as events.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
# In the order in which help shows them.
_MODULES = (
    serving,
    chatting,
    reading,
    auditing,
    billing,
    reconciling,
    what_if,
    budgeting,
    replaying,
    forking,
    truncating,
    proving,
    keeping,
)
for _module in _MODULES:
    _module.add_to(app)


def main() -> None:
    """Exit code 2, with one line that says what to do, for whatever the user can mend."""
    try:
        app()
    except (Misconfigured, Unusable, Refused, StoreFailed, StoreLost) as error:
        print(f"clew: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
