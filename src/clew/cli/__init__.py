"""The command line. A command's code is loaded when it is called for: most need only a fraction of Clew."""

from __future__ import annotations

import gc
import importlib
import sys

import typer
from typer.core import TyperCommand, TyperGroup

from clew.errors import Misconfigured, Refused, StoreFailed, StoreLost, Unusable

# Which modules make a command, in the order in which help shows the commands.
MODULES_OF_COMMANDS: dict[str, tuple[str, ...]] = {
    "serve": ("serving",),
    "work": ("serving",),
    "demo": ("serving",),
    "chat": ("chatting",),
    "threads": ("reading",),
    "show": ("reading",),
    "events": ("reading",),
    "audit": ("auditing",),
    "prompt": ("auditing",),
    "diff": ("auditing",),
    "ledger": ("billing", "reconciling"),
    "what-if": ("what_if",),
    "budgets": ("budgeting",),
    "replay": ("replaying",),
    "fork": ("forking",),
    "truncation": ("truncating",),
    "verify": ("proving",),
    "checkpoint": ("proving",),
    "export": ("proving",),
    "projections": ("keeping",),
    "doctor": ("keeping",),
    "migrate": ("keeping",),
    "settle": ("keeping",),
}


def commands_of(*modules: str) -> dict[str, TyperCommand | TyperGroup]:
    """What these modules of this folder add to the command line, by name."""
    adding = typer.Typer()
    adding.callback()(lambda: None)  # With it Typer makes a group even of a single command.
    gc.disable()  # Of what is loaded nothing becomes garbage, and looking for it takes a tenth of the time.
    try:
        for module in modules:
            importlib.import_module(f"clew.cli.{module}").add_to(adding)
    finally:
        gc.enable()
    group = typer.main.get_command(adding)
    assert isinstance(group, TyperGroup)
    return {name: command for name, command in group.commands.items() if isinstance(command, TyperCommand | TyperGroup)}


class _LoadedOnCall(TyperGroup):
    def list_commands(self, ctx: object) -> list[str]:
        return list(MODULES_OF_COMMANDS)

    def get_command(self, ctx: object, cmd_name: str) -> TyperCommand | TyperGroup | None:
        modules = MODULES_OF_COMMANDS.get(cmd_name)
        return None if modules is None else commands_of(*modules)[cmd_name]


app = typer.Typer(
    name="clew",
    cls=_LoadedOnCall,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback(help="Keeps the conversation threads of LLM agents as events.")
def _clew() -> None:
    """There are no options of all commands."""


def main() -> None:
    """Exit code 2, with one line that says what to do, for whatever the user can mend."""
    try:
        app()
    except (Misconfigured, Unusable, Refused, StoreFailed, StoreLost) as error:
        print(f"clew: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
