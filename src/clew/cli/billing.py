"""The bill: `ledger`, and what belongs to it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from clew.billing.carried import carried_record, said_in
from clew.billing.export import carried_csv, entries_csv, groups_csv
from clew.billing.forecasting import forecast
from clew.billing.questions import TIMES, Asked, all_entries, entry_page, ledger
from clew.cli.common import (
    AsOfOption,
    JsonOption,
    StoreOption,
    console,
    open_log,
    open_reader,
    point_given,
    position_of,
    print_json,
    thread_and_point,
)
from clew.cli.ledger_text import print_carried, print_entries, print_forecast, print_ledger, print_saved
from clew.desk import Desk
from clew.errors import Misconfigured
from clew.settings import from_environment
from clew.wiring import make_prices

_ALL_ITEMS = 10**9

bill = typer.Typer(help="What model calls have used and cost.", invoke_without_command=True)

_TIME = "a time (RFC 3339), a day (2026-11-25), a month (2026-11), or how long ago (7d, 12h)"
SinceOption = Annotated[str | None, typer.Option("--since", metavar="TIME", help=f"From then on: {_TIME}.")]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Until before then.")]
ThreadOption = Annotated[str | None, typer.Option("--thread", metavar="THREAD")]
RunOption = Annotated[str | None, typer.Option("--run", metavar="RUN")]
AssistantOption = Annotated[str | None, typer.Option("--assistant", metavar="ASSISTANT")]
ProviderOption = Annotated[str | None, typer.Option("--provider", metavar="PROVIDER")]
ModelOption = Annotated[str | None, typer.Option("--model", metavar="MODEL", help="A model, or PROVIDER/MODEL.")]
TagOption = Annotated[
    list[str] | None, typer.Option("--tag", metavar="LABEL=VALUE", help="Of the metadata of runs; may be repeated.")
]
TenantOption = Annotated[str | None, typer.Option("--tenant", metavar="TENANT")]
GroupOption = Annotated[
    str | None,
    typer.Option(
        "--group-by",
        metavar="GROUP",
        help="tenant, thread, run, step, assistant, provider, model, tag, tag:LABEL, hour, day or month (UTC).",
    ),
]
OrderOption = Annotated[
    str | None, typer.Option("--order", help="key, amount, calls, tokens, input_tokens, output_tokens or saved.")
]
TopOption = Annotated[int | None, typer.Option("--top", min=1, help="Only so many; the others are told together.")]
CsvOption = Annotated[Path | None, typer.Option("--csv", help="Write CSV to this file; - is standard output.")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(bill, name="ledger")


@bill.callback()
def show_ledger(
    context: typer.Context,
    store: StoreOption = None,
    group_by: GroupOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    as_of: AsOfOption = None,
    thread: ThreadOption = None,
    run: RunOption = None,
    assistant: AssistantOption = None,
    provider: ProviderOption = None,
    model: ModelOption = None,
    tag: TagOption = None,
    tenant: TenantOption = None,
    order: OrderOption = None,
    top: TopOption = None,
    one_by_one: Annotated[
        bool, typer.Option("--entries", help="The model calls one by one, the newest first.")
    ] = False,
    csv_file: CsvOption = None,
    as_json: JsonOption = False,
) -> None:
    """In total, or by group: who, which model, when."""
    if context.invoked_subcommand is not None:
        _refuse_options_before(context)
        return
    asked = Asked(since, until, tenant, thread, run, None, assistant, provider, model, tuple(tag or ()))
    if one_by_one and group_by:
        raise Misconfigured("--entries are not grouped; leave one of --entries and --group-by out")
    with open_reader(store) as reader:
        position = position_of(point_given(as_of), reader, thread)
        if one_by_one and csv_file is not None:
            write_csv(csv_file, entries_csv(all_entries(reader, asked, position)))
        elif one_by_one:
            page = entry_page(reader, asked, limit=top or 20, newest_first=True, as_of=position)
            if as_json:
                print_json(page.model_dump(mode="json"))
            else:
                print_entries(console, page)
        else:
            found = ledger(reader, asked, group_by=group_by, order=order, limit=top, as_of=position)
            if csv_file is not None:
                write_csv(csv_file, groups_csv(found))
            elif as_json:
                print_json(found.model_dump(mode="json"))
            else:
                print_ledger(console, found)


@bill.command("saved", help="What truncation and the providers' caches have saved.")
def show_saved(
    store: StoreOption = None,
    group_by: GroupOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    as_of: AsOfOption = None,
    thread: ThreadOption = None,
    assistant: AssistantOption = None,
    model: ModelOption = None,
    top: TopOption = None,
    as_json: JsonOption = False,
) -> None:
    asked = Asked(since=since, until=until, thread_id=thread, assistant_id=assistant, model=model)
    with open_reader(store) as reader:
        position = position_of(point_given(as_of), reader, thread)
        order = "saved" if group_by not in TIMES else None
        found = ledger(reader, asked, group_by=group_by, order=order, limit=top, as_of=position)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        print_saved(console, found)


@bill.command("carried", help="What each item of a thread has cost by being sent again and again.")
def show_carried(
    thread_id: Annotated[str, typer.Argument(metavar="THREAD", help="THREAD, or THREAD@POINT.")],
    store: StoreOption = None,
    as_of: AsOfOption = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Only so many; the others are told together.")] = 20,
    csv_file: CsvOption = None,
    as_json: JsonOption = False,
) -> None:
    """The dearest first. CSV has all of them."""
    thread_id, point = thread_and_point(thread_id, as_of)
    limit = _ALL_ITEMS if csv_file is not None else top
    with open_reader(store) as reader:
        found = carried_record(reader, thread_id, limit=limit, as_of=position_of(point, reader, thread_id))
        if csv_file is not None:
            write_csv(csv_file, carried_csv(found))
        elif as_json:
            print_json(found.model_dump(mode="json"))
        else:
            print_carried(console, found, said_in(reader, found))


@bill.command("forecast", help="What the next run on a thread will cost. Nothing is sent to anybody.")
def show_forecast(
    thread_id: Annotated[str, typer.Argument(metavar="THREAD")],
    store: StoreOption = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Another model than that of the newest run: PROVIDER/MODEL.")
    ] = None,
    say: Annotated[str | None, typer.Option("--say", help="What a user would add first.")] = None,
    as_json: JsonOption = False,
) -> None:
    settings = from_environment(store=store)
    with open_log(store) as log:
        thread = Desk(log).thread(thread_id)
        with log.reading() as reader:
            found = forecast(
                reader,
                thread_id,
                thread,
                make_prices(settings),
                server_limit=settings.context_tokens,
                model=model,
                say=say,
            )
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        print_forecast(console, found)


def _refuse_options_before(context: typer.Context) -> None:
    """They would be taken for those of the command, and change nothing."""
    sources = [context.get_parameter_source(name) for name in context.params]
    if any(source is not None and source.name == "COMMANDLINE" for source in sources):
        raise Misconfigured(f"write the options of `ledger {context.invoked_subcommand}` after it")


def write_csv(path: Path, lines: Iterable[str]) -> None:
    if str(path) == "-":
        sys.stdout.writelines(lines)
        return
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            file.writelines(lines)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be written: {error.strerror}") from error
    print(f"wrote {path} ({path.stat().st_size:,} bytes)", file=sys.stderr)
