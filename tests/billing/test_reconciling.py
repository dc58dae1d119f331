"""The ledger beside what a provider lists: over calls at known times, in files as providers write them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from clew.billing.reconciling import Compared, Reconciliation, family, reconcile
from clew.billing.usage_csv import read_export
from clew.errors import Misconfigured
from clew.events import Event
from clew.events.content import text
from clew.events.message import MessageAppended
from clew.events.model import ContextAssembled, ContextTokens, ModelAnswered, ModelCalled, ModelFailed
from clew.events.run import RunCompleted, RunFailed, RunQueued, RunStarted
from clew.events.thread import ThreadCreated
from clew.events.usage import Usage
from clew.prices import Prices
from tests.billing.terminal import invoked, refused
from tests.log.clocks import clock
from tests.projections.living import House
from tests.rules.example import MANIFEST, config, message

HEADER = (
    "start_time_iso,end_time_iso,num_model_requests,model,api_key_id,input_tokens,output_tokens,input_cached_tokens"
)


@dataclass(frozen=True)
class Made:
    """A call that began and ended at times of day, such as "23 10:00" for the 23rd of November 2026. `usage` None with
    a failure is one whose answer was lost."""

    begun: str
    ended: str
    usage: Usage | None
    model: str = "gpt-4o-2024-08-06"
    asked: str = "gpt-4o"
    provider: str = "openai"
    failure: str | None = None
    said_no: bool = False


def moment(written: str) -> int:
    day, _, time = written.partition(" ")
    return int(datetime.fromisoformat(f"2026-11-{day}T{time}+00:00").timestamp()) * 1_000_000


def story(number: int, made: Made) -> list[tuple[int, str, list[Event]]]:
    """A thread of its own for each call: when it began, and when it ended."""
    thread_id, run_id = f"thread_{number}", f"run_{number}"
    of: dict[str, Any] = {"run_id": run_id, "fence": 1, "model_call_id": f"mc_{number}"}
    called = ModelCalled(**of, provider=made.provider, model=made.asked, attempt=1)
    counted = ContextTokens(instructions=0, tools=0, items=100, exact=False)
    begun: list[Event] = [
        ThreadCreated(tenant="acme", dialect="test"),
        message(),
        RunQueued(run_id=run_id, dialect="test", config=config(provider=made.provider, model=made.asked)),
        RunStarted(run_id=run_id, worker="w", attempt=1, fence=1, lease_seconds=30.0),
        ContextAssembled(**of, manifest=MANIFEST, tokens=counted, renderer="openai-chat/1", digest="0" * 64),
        called,
    ]
    price = Prices().price(made.provider, made.model, made.usage, moment(made.begun)) if made.usage else None
    ended: list[Event]
    if made.failure is not None:
        failed = ModelFailed(
            **of,
            attempt=1,
            code=made.failure,
            message="",
            retryable=False,
            final=True,
            usage=made.usage,
            price=price,
            usage_unknown=made.usage is None and not made.said_no,
        )
        ended = [failed, RunFailed(run_id=run_id, code="server_error", message="")]
    else:
        answered = ModelAnswered(
            **of,
            attempt=1,
            step_id=f"step_{number}",
            model=made.model,
            finish_reason="stop",
            duration_ms=1.0,
            usage=made.usage,
            price=price,
        )
        said = MessageAppended(
            message_id=f"msg_{number}",
            role="assistant",
            content=text("Hm."),
            run_id=run_id,
            fence=1,
            model_call_id=of["model_call_id"],
            step_id=f"step_{number}",
        )
        ended = [answered, said, RunCompleted(run_id=run_id)]
    return [(moment(made.begun), thread_id, begun), (moment(made.ended), thread_id, ended)]


async def write_down(house: House, calls: Sequence[Made]) -> None:
    appends = sorted((one for number, made in enumerate(calls) for one in story(number, made)), key=lambda one: one[0])
    for at, thread_id, events in appends:
        with house.log.reading() as reader:
            version = reader.version(thread_id)
        with clock(lambda at=at: at):  # type: ignore[misc]
            await house.log.append(thread_id, events, after=version)


def listed(folder: Path, *rows: str, header: str = HEADER) -> Path:
    file = folder / "usage.csv"
    file.write_text("\n".join([header, *rows]) + "\n")
    return file


def row(
    day: str, requests: int, given: int, out: int, cached: int = 0, model: str = "gpt-4o-2024-08-06", key: str = "k"
) -> str:
    until = f"2026-11-{int(day) + 1:02}T00:00:00Z"
    return f"2026-11-{day}T00:00:00Z,{until},{requests}.0,{model},{key},{given},{out},{cached}"


def compared(store: str, calls: Sequence[Made], file: Path, **options: Any) -> Reconciliation:
    async def main() -> Reconciliation:
        house = await House(store).open()
        await write_down(house, calls)
        with house.log.reading() as reader:
            found = reconcile(reader, read_export(file), **options)
        await house.close()
        return found

    return asyncio.run(main())


def verdicts(found: Reconciliation) -> list[tuple[int, str, str]]:
    return [(one.day.day, one.model, one.verdict) for one in found.compared]


def reasons(one: Compared) -> list[str]:
    return [why.reason for why in one.explanations]


NOON = Made("23 12:00", "23 12:01", Usage(input=1_000, output=50, cached=400))
EVENING = Made("23 20:00", "23 20:01", Usage(input=500, output=20))
NEXT_DAY = Made("24 09:00", "24 09:01", Usage(input=70, output=7))


def test_what_fits_fits_to_the_last_token(store: str, tmp_path: Path) -> None:
    """600 at 2.50, 400 at 1.25, 50 at 10 for a million, and 500 at 2.50 and 20 at 10: 0.0025 + 0.00145."""
    file = listed(tmp_path, row("23", 2, 1_500, 70, 400), row("24", 1, 70, 7), row("25", 0, 0, 0))
    found = compared(store, [NOON, EVENING, NEXT_DAY], file)
    assert verdicts(found) == [(23, "gpt-4o-2024-08-06", "agrees"), (24, "gpt-4o-2024-08-06", "agrees")]
    assert (found.since, found.until, found.unexplained) == (date(2026, 11, 23), date(2026, 11, 25), 0)
    assert found.listed == found.ledger == {"requests": 3, "input": 1_570, "cached": 400, "output": 77}
    monday = found.compared[0]
    assert (monday.amount, monday.unpriced_calls, monday.lines) == ("0.00395", 0, [2])


def test_days_that_the_export_is_not_about_are_not_compared(store: str, tmp_path: Path) -> None:
    found = compared(store, [NOON, EVENING, NEXT_DAY], listed(tmp_path, row("24", 1, 70, 7)))
    assert verdicts(found) == [(24, "gpt-4o-2024-08-06", "agrees")]
    asked_for_more = compared(
        ":memory:", [NOON, NEXT_DAY], listed(tmp_path, row("24", 1, 70, 7)), since=date(2026, 11, 23)
    )
    assert verdicts(asked_for_more) == [(23, "gpt-4o-2024-08-06", "unexplained"), (24, "gpt-4o-2024-08-06", "agrees")]
    assert reasons(asked_for_more.compared[0]) == ["only_ours"]


def test_a_call_around_midnight_is_found_on_the_other_day(store: str, tmp_path: Path) -> None:
    late = Made("23 23:58", "24 00:20", Usage(input=33, output=3))
    file = listed(tmp_path, row("23", 2, 1_033, 53, 400), row("24", 1, 70, 7))
    found = compared(store, [NOON, late, NEXT_DAY], file)
    assert [one.verdict for one in found.compared] == ["explained", "explained"]
    assert [reasons(one) for one in found.compared] == [["midnight"], ["midnight"]]
    assert found.compared[0].explanations[0].calls[0].run_id == "run_1"
    assert "which are on 2026-11-24 in the ledger" in found.compared[0].explanations[0].text
    assert "which the provider counts on 2026-11-23" in found.compared[1].explanations[0].text


def test_the_first_day_may_have_the_last_call_of_the_day_before(tmp_path: Path) -> None:
    late = Made("22 23:59", "22 23:59", Usage(input=33, output=3))
    found = compared(":memory:", [late, NOON], listed(tmp_path, row("23", 2, 1_033, 53, 400)))
    assert verdicts(found) == [(23, "gpt-4o-2024-08-06", "explained")]


def test_the_last_day_may_have_the_first_call_of_the_day_after(tmp_path: Path) -> None:
    early = Made("23 23:59", "24 00:01", Usage(input=33, output=3))
    found = compared(":memory:", [NOON, early], listed(tmp_path, row("23", 2, 1_033, 53, 400)))
    assert verdicts(found) == [(23, "gpt-4o-2024-08-06", "explained")]


def test_a_lost_call_may_account_for_what_is_missing(store: str, tmp_path: Path) -> None:
    """It is in the ledger under the name that was asked for: nobody said which frozen model it was to be."""
    lost = Made("23 13:00", "23 13:10", None, failure="lost")
    file = listed(tmp_path, row("23", 2, 1_120, 61, 400))
    found = compared(store, [NOON, lost], file)
    assert verdicts(found) == [(23, "gpt-4o", "explained")]
    (one,) = found.compared
    assert (one.listed_as, one.recorded_as) == (["gpt-4o-2024-08-06"], ["gpt-4o", "gpt-4o-2024-08-06"])
    assert (one.difference, one.lost_calls) == ({"requests": 1, "input": 120, "cached": 0, "output": 11}, 1)
    (why,) = one.explanations
    assert (why.reason, why.calls[0].counts, why.calls[0].estimated_tokens) == ("lost", None, 100)


def test_what_the_provider_said_no_to_is_missing_nowhere(store: str, tmp_path: Path) -> None:
    refused = Made("23 13:00", "23 13:01", None, failure="rate_limit_exceeded", said_no=True)
    found = compared(store, [NOON, refused], listed(tmp_path, row("23", 1, 1_000, 50, 400)))
    assert verdicts(found) == [(23, "gpt-4o-2024-08-06", "agrees")]


def test_models_go_by_their_families_only_where_the_two_sides_name_them_otherwise(tmp_path: Path) -> None:
    older = Made("23 14:00", "23 14:01", Usage(input=9, output=1), model="gpt-4o-2024-05-13")
    exact = listed(tmp_path, row("23", 1, 1_000, 50, 400), row("23", 1, 9, 1, model="gpt-4o-2024-05-13"))
    found = compared(":memory:", [NOON, older], exact)
    assert verdicts(found) == [(23, "gpt-4o-2024-05-13", "agrees"), (23, "gpt-4o-2024-08-06", "agrees")]
    by_alias = listed(tmp_path, row("23", 2, 1_009, 51, 400, model="gpt-4o"))
    found = compared(":memory:", [NOON, older], by_alias)
    assert verdicts(found) == [(23, "gpt-4o", "agrees")]


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("claude-opus-4-1@20250805", "claude-opus-4-1"),
        ("gpt-4-0613", "gpt-4"),
        ("mistral-large-latest", "mistral-large"),
        ("mistral-large-2411", "mistral-large"),
        ("gpt-4-32k", "gpt-4-32k"),
        ("claude-opus-4-5", "claude-opus-4-5"),
        ("ft:gpt-4o-mini-2024-07-18:acme::abc", "ft:gpt-4o-mini-2024-07-18:acme::abc"),
    ],
)
def test_a_frozen_model_belongs_to_a_family(model: str, name: str) -> None:
    assert family(model) == name


def test_what_only_one_side_has_is_told_by_entry_or_by_line(store: str, tmp_path: Path) -> None:
    others = Made("23 10:00", "23 10:01", Usage(input=5, output=5), model="o3", asked="o3")
    elsewhere = Made("23 10:00", "23 10:01", Usage(input=5, output=5), provider="anthropic")
    file = listed(tmp_path, row("23", 1, 1_000, 50, 400), row("23", 3, 30, 3, model="gpt-5"))
    found = compared(store, [NOON, others, elsewhere], file)
    assert verdicts(found) == [
        (23, "gpt-4o-2024-08-06", "agrees"),
        (23, "gpt-5", "unexplained"),
        (23, "o3", "unexplained"),
    ]
    assert found.unexplained == 2
    assert [(one.explanations[0].reason, one.lines) for one in found.compared[1:]] == [
        ("only_listed", [3]),
        ("only_ours", []),
    ]
    assert found.compared[2].explanations[0].calls[0].thread_id == "thread_1"


def test_an_export_of_anthropics_is_compared_by_its_own_columns(store: str, tmp_path: Path) -> None:
    header = (
        "usage_date_utc,model_version,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,"
        "usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens,web_search_count"
    )
    usage = Usage(input=1_110, cached=1_000, cache_write=100, cache_write_1h=40, output=5, reasoning=2, web_searches=3)
    made = Made("23 10:00", "23 10:01", usage, model="claude-opus-5-5", asked="claude-opus-5-5", provider="anthropic")
    file = listed(tmp_path, "2026-11-23,claude-opus-5-5,10,60,40,1000,5,3", header=header)
    found = compared(store, [made, NOON], file)
    assert verdicts(found) == [(23, "claude-opus-5-5", "agrees")]
    assert found.counted == ["input", "cached", "cache_write", "cache_write_1h", "output", "web_searches"]
    # As worked by hand in tests/prices: 0.00096 for the tokens, 0.03 for the searches.
    assert found.amount == "0.03096"
    otherwise = listed(tmp_path, "2026-11-23,claude-opus-5-5,10,50,50,1000,5,3", header=header)
    (one,) = compared(":memory:", [made], otherwise).compared
    assert (one.verdict, reasons(one)) == ("unexplained", ["cached_otherwise"])
    assert one.difference == {
        "input": 0,
        "cached": 0,
        "cache_write": 0,
        "cache_write_1h": 10,
        "output": 0,
        "web_searches": 0,
    }


def test_another_provider_of_ours_may_be_behind_the_export(tmp_path: Path) -> None:
    made = Made("23 10:00", "23 10:01", Usage(input=5, output=5), provider="azure")
    file = listed(tmp_path, row("23", 1, 5, 5))
    assert compared(":memory:", [made], file).unexplained == 1
    assert compared(":memory:", [made], file, provider="azure").unexplained == 0


def test_an_export_without_rows_needs_days(tmp_path: Path) -> None:
    file = listed(tmp_path)
    with pytest.raises(Misconfigured, match="give --since and --until"):
        compared(":memory:", [NOON], file)
    found = compared(":memory:", [NOON], file, since=date(2026, 11, 23))
    assert (verdicts(found), found.until) == ([(23, "gpt-4o-2024-08-06", "unexplained")], date(2026, 11, 23))
    with pytest.raises(Misconfigured, match="there is no day from 2026-11-24 until 2026-11-23"):
        compared(":memory:", [NOON], file, since=date(2026, 11, 24), until=date(2026, 11, 23))


def test_the_command_tells_and_its_exit_code_says_whether_it_fits(lasting_store: str, tmp_path: Path) -> None:
    lost = Made("24 13:00", "24 13:10", None, failure="lost")

    async def main() -> None:
        house = await House(lasting_store).open()
        await write_down(house, [NOON, EVENING, lost])
        await house.close()

    asyncio.run(main())
    fits = listed(tmp_path, row("23", 2, 1_500, 70, 400), row("24", 1, 110, 5), row("23", 9, 9, 9, key="other"))
    code, told = invoked("ledger", "reconcile", "--csv", str(fits), "--where", "api_key_id=k", store=lasting_store)
    assert code == 0
    assert "everything fits" in told
    assert "1 rows of the export are others'" in told
    assert "1 call whose usage is unknown may account for it: their prompts were estimated at 100 tokens" in told
    assert "not in the amount: 0 calls without a price, 1 of unknown usage" in told
    code, told = invoked("ledger", "reconcile", "--csv", str(fits), "--json", store=lasting_store)
    said = orjson.loads(told)
    assert (code, said["unexplained"]) == (1, 1)
    assert said["compared"][0]["listed"] == {"requests": 11, "input": 1_509, "cached": 400, "output": 79}
    code, told = invoked(
        "ledger", "reconcile", "--csv", str(listed(tmp_path, row("23", 1, 500, 20))), store=lasting_store
    )
    assert code == 1
    assert "1 call of the ledger, exactly so much, which the provider does not list" in told
    assert "run_0" in told
    assert "1 of 1 do not fit" in told


def test_what_is_written_wrongly_is_told(tmp_path: Path) -> None:
    file = str(listed(tmp_path, row("23", 1, 500, 20)))
    for arguments, why in (
        (("--where", "k"), "names no value"),
        (("--since", "May"), "write a day, such as 2026-11-25"),
        (("--where", "nobody=1"), "has no column nobody"),
    ):
        assert why in refused("ledger", "reconcile", "--csv", file, *arguments)
