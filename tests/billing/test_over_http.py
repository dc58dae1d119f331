"""The bill over HTTP and in the command line, of a server that runs, with the operator's own prices."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import httpx2
import pytest

from clew.ids import new_id
from tests.rigs.commands import refused, shown, typed
from tests.rigs.processes import Server

PRICES = """
[[price]]
provider = "scripted"
model = "echo"
input = 2
output = 10
"""


@dataclass(frozen=True)
class Bill:
    """A server with two threads: two runs on one, tagged, and one on the other, with a model that has no price."""

    client: httpx2.Client
    store: Path
    dear: str
    cheap: str

    def get(self, path: str, **parameters: str | int) -> httpx2.Response:
        return self.client.get(f"/clew/v1{path}", params=parameters)


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bill]:
    folder: Path = tmp_path_factory.mktemp("bill")
    prices, store = folder / "prices.toml", folder / "threads.db"
    prices.write_text(PRICES)
    flags, environment = ("--default-provider", "scripted"), {"CLEW_PRICES": str(prices)}
    with (
        Server(store, flags, environment=environment) as server,
        httpx2.Client(base_url=server.url, timeout=30) as client,
    ):
        dear = client.post("/v1/threads", json={}).json()["id"]
        cheap = client.post("/v1/threads", json={}).json()["id"]
        for thread_id, model, said in ((dear, "echo", "Hello " * 30), (dear, "echo", "More"), (cheap, "other", "Hi")):
            held(client, thread_id, model, said)
        yield Bill(client, store, dear, cheap)


def held(client: httpx2.Client, thread_id: str, model: str, said: str) -> None:
    assistant = client.post("/v1/assistants", json={"model": model, "instructions": "Listen."}).json()
    body = {
        "assistant_id": assistant["id"],
        "additional_messages": [{"role": "user", "content": said}],
        "metadata": {"team": "blue [bold]"},
    }
    run = client.post(f"/v1/threads/{thread_id}/runs", json=body).json()
    end = time.monotonic() + 20
    while run["status"] in ("queued", "in_progress"):
        assert time.monotonic() < end
        time.sleep(0.02)
        run = client.get(f"/v1/threads/{run['thread_id']}/runs/{run['id']}").json()
    assert run["status"] == "completed"


def test_the_bill_is_told_by_thread_with_amounts_in_text(bill: Bill) -> None:
    # Written as a person may write it, with what is not said left empty.
    found = bill.client.get("/clew/v1/ledger?group_by=thread&since=&until=&as_of=").json()
    total, groups = found["total"], {group["key"]: group for group in found["groups"]}
    assert set(groups) == {bill.dear, bill.cheap}
    assert groups[bill.dear]["calls"] == 2
    paid = groups[bill.dear]["input_tokens"] * 2 + groups[bill.dear]["output_tokens"] * 10
    assert Decimal(groups[bill.dear]["amount"]) == Decimal(paid) / 1_000_000
    assert (groups[bill.cheap]["amount"], groups[bill.cheap]["unpriced_calls"]) == ("0", 1)
    assert total["amount"] == groups[bill.dear]["amount"]
    assert (total["currency"], total["unpriced_calls"], total["lost_calls"]) == ("USD", 1, 0)


def test_filters_and_limits_are_heeded(bill: Bill) -> None:
    assert bill.get("/ledger", thread_id=bill.cheap).json()["total"]["calls"] == 1
    assert bill.get("/ledger", tag="team=blue [bold]").json()["total"]["calls"] == 3
    assert bill.get("/ledger", model="scripted/other").json()["total"]["calls"] == 1
    found = bill.get("/ledger", group_by="run", limit=1).json()
    assert [len(found["groups"]), found["others"]["calls"]] == [1, 2]


def test_the_past_is_asked_for_in_the_query_in_the_header_and_in_the_path(bill: Bill) -> None:
    first = bill.get("/ledger/entries", limit=1).json()["entries"][0]
    before, then = first["position"] - 1, first["position"]
    assert bill.get("/ledger", as_of=before).json()["total"]["calls"] == 0
    assert bill.get("/ledger", as_of=then).json()["total"]["calls"] == 1
    header = bill.client.get("/clew/v1/ledger", headers={"Clew-As-Of": str(then)}).json()
    assert header == bill.client.get(f"/at/{then}/clew/v1/ledger").json() == bill.get("/ledger", as_of=then).json()
    version = bill.get("/ledger", thread_id=bill.dear, as_of="v1").json()
    assert version["total"]["calls"] == 0
    both = bill.client.get(f"/at/{then}/clew/v1/ledger", params={"as_of": str(before)})
    assert (both.status_code, both.json()["error"]["type"]) == (400, "NoSuchPoint")


@pytest.mark.parametrize(
    ("path", "parameters", "words"),
    [
        ("/ledger", {"group_by": "colour"}, "group_by: 'colour' means nothing here"),
        ("/ledger", {"since": "soon"}, "since: 'soon' means nothing here"),
        ("/ledger", {"tag": "blue"}, "write LABEL=VALUE"),
        ("/ledger", {"as_of": "99999999"}, "it is still to come"),
        ("/ledger", {"limit": "0"}, "greater than or equal to 1"),
        ("/ledger", {"format": "xml"}, "'json' or 'csv'"),
        ("/ledger/entries", {"until": "2026-99", "format": "csv"}, "there is no such time"),
        ("/ledger/open", {"as_of": "1"}, "only known of now"),
    ],
)
def test_a_question_that_means_nothing_gets_a_400_that_says_so(
    bill: Bill, path: str, parameters: dict[str, str], words: str
) -> None:
    answer = bill.get(path, **parameters)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


def test_csv_has_what_json_has(bill: Bill) -> None:
    answer = bill.get("/ledger", group_by="model", format="csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert {row["key"] for row in csv.DictReader(io.StringIO(answer.text))} == {"scripted/echo", "scripted/other"}
    rows = list(csv.DictReader(io.StringIO(bill.get("/ledger/entries", format="csv").text)))
    entries = bill.get("/ledger/entries").json()["entries"]
    assert [row["run_id"] for row in rows] == [entry["run_id"] for entry in entries]
    assert rows[0]["price_table"].startswith("prices.toml/")


def test_what_items_carry_adds_up_to_what_was_paid(bill: Bill) -> None:
    found = bill.get(f"/threads/{bill.dear}/ledger/carried").json()
    parts = [found["instructions_amount"], found["tools_amount"], *(item["amount"] for item in found["items"])]
    assert sum(map(Decimal, parts)) == Decimal(found["input_amount"])
    spent = bill.get("/ledger", thread_id=bill.dear).json()["total"]
    assert Decimal(found["input_amount"]) == Decimal(spent["input_tokens"] * 2) / 1_000_000
    assert [item["times"] for item in found["items"]] == [2, 1, 1]
    one = bill.get(f"/threads/{bill.dear}/ledger/carried", limit=1).json()
    assert [len(one["items"]), one["others"]["items"]] == [1, 2]
    assert bill.get("/threads/thread_x/ledger/carried").status_code == 404


def test_a_forecast_is_of_now(bill: Bill) -> None:
    found = bill.get(f"/threads/{bill.dear}/ledger/forecast", say="And?").json()
    assert Decimal(found["amount"]) > 0
    assert bill.get(f"/threads/{bill.cheap}/ledger/forecast").json()["amount"] is None
    assert bill.client.get(f"/at/3/clew/v1/threads/{bill.dear}/ledger/forecast").status_code == 400
    assert bill.get(f"/threads/{new_id('thread')}/ledger/forecast").status_code == 404


def test_nothing_waits_where_nothing_runs(bill: Bill) -> None:
    assert bill.get("/ledger/open").json() == []


def test_the_command_line_shows_it_with_bars(bill: Bill) -> None:
    told = shown("ledger", "--group-by", "thread", store=bill.store)
    assert bill.dear in told
    assert "█" * 24 in told
    assert "calls that are not in the amount: 1 unpriced" in told
    tags = shown("ledger", "--group-by", "tag:team", store=bill.store)
    assert "blue [bold]" in tags
    found = json.loads(shown("ledger", "--group-by", "model", "--json", store=bill.store))
    assert {group["key"] for group in found["groups"]} == {"scripted/echo", "scripted/other"}
    assert "there are more" in shown("ledger", "--entries", "--top", "1", store=bill.store)
    assert "not paid" in shown("ledger", "saved", "--group-by", "model", store=bill.store)


def test_it_shows_what_items_carry_and_what_comes_next(bill: Bill) -> None:
    told = shown("ledger", "carried", bill.dear, store=bill.store)
    assert "user: Hello Hello" in told
    assert "0 calls have cost" in shown("ledger", "carried", f"{bill.dear}@v1", store=bill.store)
    lines = shown("ledger", "carried", bill.dear, "--csv", "-", store=bill.store).splitlines()
    assert len(lines) == 1 + 2 + 3
    assert "no table has a price" in shown("ledger", "forecast", bill.dear, store=bill.store)


def test_it_writes_files(bill: Bill, tmp_path: Path) -> None:
    done = typed("ledger", "--group-by", "day", "--csv", str(tmp_path / "days.csv"), store=bill.store)
    assert done.stderr.startswith("wrote ")
    assert (tmp_path / "days.csv").read_text().startswith("key,calls,")


def test_it_refuses_in_one_line(bill: Bill) -> None:
    nowhere = str(bill.store.parent / "none" / "x.csv")
    for arguments, words in (
        (("ledger", "--group-by", "colour"), "group_by: 'colour' means nothing here"),
        (("ledger", "--since", "soon"), "since: 'soon' means nothing here"),
        (("ledger", "--entries", "--group-by", "day"), "--entries are not grouped"),
        (("ledger", "--csv", nowhere), "cannot be written"),
        (("ledger", "carried", "thread_x"), "no thread has the id"),
        (("ledger", "forecast", "thread_x"), "no thread has the id"),
    ):
        assert words in refused(*arguments, store=bill.store)
    assert "write the options of `ledger saved` after it" in refused("ledger", "--since", "7d", "saved")
