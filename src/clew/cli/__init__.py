"""The command line."""

from __future__ import annotations

import sys

import typer

from clew.cli import chatting, keeping, reading, serving
from clew.errors import Misconfigured, Refused, Unusable

app = typer.Typer(
    name="clew",
    help="Keeps the conversation threads of LLM agents as events.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _module in (serving, chatting, reading, keeping):
    _module.add_to(app)


def main() -> None:
    """Exit code 2, with one line that says what to do, for whatever the user can mend."""
    try:
        app()
    except (Misconfigured, Unusable, Refused) as error:
        print(f"clew: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
