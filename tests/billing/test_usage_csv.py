"""Usage exports as providers write them, and files that are none."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from clew.billing.usage_csv import Export, read_export
from clew.errors import Misconfigured

OPENAI = (
    "start_time,end_time,start_time_iso,end_time_iso,project_id,num_model_requests,user_id,api_key_id,model,batch,"
    "service_tier,input_tokens,output_tokens,input_cached_tokens,input_uncached_tokens,input_cache_write_tokens"
)
ANTHROPIC = (
    "usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,"
    "usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,"
    "usage_output_tokens,web_search_count,inference_geo,speed"
)


def export(folder: Path, *lines: str, where: dict[str, str] | None = None, encoding: str = "utf-8") -> Export:
    file = folder / "usage.csv"
    file.write_text("\n".join(lines) + "\n", encoding=encoding)
    return read_export(file, where)


def listed(found: Export) -> list[tuple[str, str, dict[str, int]]]:
    return [(one.day.isoformat(), one.model, dict(one.counts)) for one in found.listed]


def openai_row(start: int, seconds: int, key: str, model: str, *numbers: object) -> str:
    begun, until = f"{start},{start + seconds}", "2025-10-27T00:00:00+00:00,2025-10-27T00:01:00+00:00"
    return f"{begun},{until},proj_1,{numbers[0]},user-1,{key},{model},False,default,{','.join(map(str, numbers[1:]))}"


MIDNIGHT = 1_761_523_200  # 2025-10-27T00:00:00Z


def test_minutes_of_openais_are_added_up_by_day_and_model(tmp_path: Path) -> None:
    found = export(
        tmp_path,
        OPENAI,
        f"{MIDNIGHT - 86_400},{MIDNIGHT - 86_340},,,,,,,,,,,,,,",  # A minute without calls
        openai_row(MIDNIGHT, 60, "key_a", "gpt-4o-2024-08-06", "3.0", 4_212, 1_673, 1_280, 2_932, 12),
        openai_row(MIDNIGHT, 60, "key_b", "gpt-4o-2024-08-06", "1.0", 788, 27, 0, 788, ""),
        openai_row(MIDNIGHT + 86_340, 60, "key_a", "gpt-4o-mini", "1", 5, 6, 0, 5, 0),
        openai_row(MIDNIGHT + 86_400, 60, "key_a", "gpt-4o-mini", "1", 7, 8, 0, 7, 0),
    )
    assert (found.provider, found.counted) == ("openai", ("requests", "input", "cached", "cache_write", "output"))
    assert found.days == (date(2025, 10, 26), date(2025, 10, 28))
    assert listed(found) == [
        (
            "2025-10-27",
            "gpt-4o-2024-08-06",
            {"requests": 4, "input": 5_000, "cached": 1_280, "cache_write": 12, "output": 1_700},
        ),
        ("2025-10-27", "gpt-4o-mini", {"requests": 1, "input": 5, "cached": 0, "cache_write": 0, "output": 6}),
        ("2025-10-28", "gpt-4o-mini", {"requests": 1, "input": 7, "cached": 0, "cache_write": 0, "output": 8}),
    ]
    assert found.listed[0].lines == (3, 4)


def test_anthropics_columns_leave_each_other_out_and_ours_hold_each_other(tmp_path: Path) -> None:
    found = export(
        tmp_path,
        ANTHROPIC,
        "2026-08-05,claude-opus-5,Closer App,Default,standard,≤ 200k,46981,15969,31,4000,16932,2,global,",
        "2026-08-05,claude-opus-5,Other,Default,batch,≤ 200k,19,0,0,0,68,0,global,fast",
    )
    assert found.provider == "anthropic"
    assert listed(found) == [
        (
            "2026-08-05",
            "claude-opus-5",
            {
                "input": 46_981 + 15_969 + 31 + 4_000 + 19,
                "cached": 4_000,
                "cache_write": 15_969 + 31,
                "cache_write_1h": 31,
                "output": 17_000,
                "web_searches": 2,
            },
        )
    ]


def test_an_older_export_of_anthropics_does_not_say_how_long_it_was_written_for(tmp_path: Path) -> None:
    header = "usage_date_utc,model_version,usage_input_tokens_no_cache,usage_input_tokens_cache_write,"
    header += "usage_input_tokens_cache_read,usage_output_tokens"
    found = export(tmp_path, header, "2025-06-12 15:00:00,claude-3-5-haiku-20241022,8,3,4,1")
    assert found.counted == ("input", "cached", "cache_write", "output")
    assert listed(found) == [
        ("2025-06-12", "claude-3-5-haiku-20241022", {"input": 15, "cached": 4, "cache_write": 3, "output": 1})
    ]


def test_the_words_of_the_admin_api_are_understood_too(tmp_path: Path) -> None:
    header = "starting_at;ending_at;model;uncached_input_tokens;cache_read_input_tokens;"
    header += "cache_creation.ephemeral_5m_input_tokens;cache_creation.ephemeral_1h_input_tokens;output_tokens"
    row = "2025-08-01T23:00:00-02:00;2025-08-02T01:00:00Z;claude-sonnet-5;1;2;3;4;5"
    assert listed(export(tmp_path, header, row)) == [
        (
            "2025-08-02",  # An hour after midnight, in UTC.
            "claude-sonnet-5",
            {"input": 10, "cached": 2, "cache_write": 7, "cache_write_1h": 4, "output": 5},
        )
    ]


def test_what_a_spreadsheet_made_of_it_is_still_read(tmp_path: Path) -> None:
    header = "Start Time\tModel\tInput Tokens\tOutput Tokens\tNum Model Requests"
    found = export(tmp_path, header, '2026/9/1\tgpt-6-sol\t"1,234"\t5.0\t1', "", encoding="utf-16")
    assert listed(found) == [("2026-09-01", "gpt-6-sol", {"requests": 1, "input": 1_234, "output": 5})]
    marked = export(tmp_path, OPENAI, openai_row(MIDNIGHT * 1_000, 60, "k", "m", 1, 2, 3), encoding="utf-8-sig")
    assert [one.day for one in marked.listed] == [date(2025, 10, 27)]


def test_rows_can_be_chosen_by_any_column(tmp_path: Path) -> None:
    rows = (openai_row(MIDNIGHT, 60, "key_a", "m", 1, 10, 1), openai_row(MIDNIGHT, 60, "key_b", "m", 1, 20, 1))
    found = export(tmp_path, OPENAI, *rows, where={"API key ID": "key_b"})
    assert (found.listed[0].counts["input"], found.passed_over) == (20, 1)
    with pytest.raises(Misconfigured, match="has no column workspace; it has start_time, end_time"):
        export(tmp_path, OPENAI, *rows, where={"workspace": "x"})


def test_an_export_without_any_call_still_says_which_days_it_is_about(tmp_path: Path) -> None:
    header = "start_time,end_time,start_time_iso,end_time_iso"
    found = export(tmp_path, header, f"{MIDNIGHT},{MIDNIGHT + 86_400},2025-10-27T00:00:00,2025-10-28T00:00:00")
    assert (found.provider, found.listed, found.days) == ("openai", (), (date(2025, 10, 27),) * 2)
    assert export(tmp_path, OPENAI).days is None


COSTS = "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd,cost_type"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (("a,b", "1,2"), "is no usage export that Clew knows. anthropic's has at least the columns usage_date_utc"),
        (("a,b", "1,2"), "openai's has at least the columns start_time, model, input_tokens, output_tokens"),
        (("a,b", "1,2"), "This file has a, b"),
        (("",), "This file has nothing in it"),
        ((COSTS,), "is a cost export, which has no tokens"),
        ((OPENAI, openai_row(MIDNIGHT, 60, "k", "", 1, 2, 3)), "line 2: it has tokens but no model"),
        ((OPENAI, openai_row(MIDNIGHT, 604_800, "k", "m", 1, 2, 3)), "line 2: it is of more than a day"),
        (
            (OPENAI, openai_row(MIDNIGHT, 60, "k", "m", 1, "many", 3)),
            "line 2: input_tokens is 'many', which is no count",
        ),
        ((OPENAI, openai_row(MIDNIGHT, 60, "k", "m", 1, "-2", 3)), "line 2: input_tokens is '-2', which is no count"),
        ((OPENAI, openai_row(MIDNIGHT, 60, "k", "m", 1, "2.5", 3)), "line 2: input_tokens is '2.5', which is no count"),
        ((OPENAI, openai_row(MIDNIGHT, 60, "k", "m", 1, "inf", 3)), "line 2: input_tokens is 'inf', which is no count"),
        ((ANTHROPIC, "soon,m,k,w,s,c,1,0,0,0,1,0,g,"), "line 2: usage_date_utc is 'soon', which is no day or time"),
        ((OPENAI, openai_row(10**30, 60, "k", "m", 1, 2, 3)), "which is no day or time"),
        ((ANTHROPIC, '2026-01-01,"m'), "is no CSV: unexpected end of data"),
    ],
)
def test_a_file_that_cannot_be_read_says_what_is_wanted(tmp_path: Path, lines: tuple[str, ...], told: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        export(tmp_path, *lines)
    assert told in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_file_that_is_not_there_or_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be read: No such file"):
        read_export(tmp_path / "gone.csv")
    (tmp_path / "book.xlsx").write_bytes(b"PK\x03\x04\xff\xff\x00\x9d")
    with pytest.raises(Misconfigured, match="is not text; save it as CSV in UTF-8"):
        read_export(tmp_path / "book.xlsx")
