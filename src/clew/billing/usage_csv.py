"""A provider's usage export: what it says was used, by day (UTC) and model.

Where each fact is from, read on 25 November 2026:

OpenAI, "Export" of the activity view of the usage page (`completions_usage_<from>_<to>.csv`). The columns are those
of the Usage API, `organization.usage.completions.result` of OpenAI's OpenAPI document: `input_tokens` are all that
went in, cached and written to the cache too. Exports that people keep in public repositories begin with `start_time`
and `end_time` in seconds since 1970 and the same as `start_time_iso` and `end_time_iso`, write `num_model_requests`
as `3.0`, have a row with nothing in it for each bucket without calls, and only those four columns where there were
no calls at all. Buckets are a minute, an hour or a day; "all timestamps are based on UTC" (help.openai.com, 8554956).

Anthropic, "Export" of the usage page of the console: `usage_date_utc`, `model_version`, and token columns that leave
each other out, as exports in public repositories have it. Older ones have a single `usage_input_tokens_cache_write`.
There is no column that counts requests. The words of the Usage & Cost Admin API (`uncached_input_tokens` and so on,
platform.claude.com) are understood too, for those who write its answers down as CSV.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from io import StringIO
from pathlib import Path

from clew.errors import Misconfigured

# What is compared, in this order: our words, where `input` has in it all that went through the cache.
COUNTED = ("requests", "input", "cached", "cache_write", "cache_write_1h", "output", "web_searches")

_LONGEST_BUCKET = timedelta(days=1)
# Later than the year 2286 in seconds: these are milliseconds.
_SECONDS_MAX = 10**10


@dataclass(frozen=True, slots=True)
class Listed:
    """What the export says of a model on a day. `lines` are those of the file that were added up."""

    day: date
    model: str
    counts: Mapping[str, int]
    lines: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Export:
    """`counted` are the counts that the export has: nothing else of it can be compared. `days` are the first and the
    last that it is about, also where nothing was used; None when it has no row. `passed_over` rows had other values
    than were asked for."""

    provider: str
    counted: tuple[str, ...]
    listed: tuple[Listed, ...]
    days: tuple[date, date] | None
    passed_over: int = 0


@dataclass(frozen=True, slots=True)
class _Format:
    """`counts` has the names that a column goes by, for each of our counts. `apart`: their input leaves out what went
    through the cache, and what was written for an hour is not in what was written."""

    provider: str
    day: tuple[str, ...]
    model: tuple[str, ...]
    counts: Mapping[str, tuple[str, ...]]
    until: tuple[str, ...] = ()
    apart: bool = False
    needed: tuple[str, ...] = ("input", "output")

    def wanted(self) -> str:
        return ", ".join(names[0] for names in (self.day, self.model, *(self.counts[name] for name in self.needed)))


_FORMATS = (
    _Format(
        provider="anthropic",
        day=("usage_date_utc", "starting_at"),
        model=("model_version", "model"),
        counts={
            "input": ("usage_input_tokens_no_cache", "uncached_input_tokens"),
            "cached": ("usage_input_tokens_cache_read", "cache_read_input_tokens"),
            "cache_write": (
                "usage_input_tokens_cache_write_5m",
                "ephemeral_5m_input_tokens",
                "cache_creation_ephemeral_5m_input_tokens",
                "usage_input_tokens_cache_write",
            ),
            "cache_write_1h": (
                "usage_input_tokens_cache_write_1h",
                "ephemeral_1h_input_tokens",
                "cache_creation_ephemeral_1h_input_tokens",
            ),
            "output": ("usage_output_tokens", "output_tokens"),
            "web_searches": ("web_search_count", "web_search_requests"),
        },
        until=("ending_at",),
        apart=True,
        needed=("input", "cached", "cache_write", "output"),
    ),
    _Format(
        provider="openai",
        day=("start_time", "start_time_iso"),
        model=("model",),
        counts={
            "requests": ("num_model_requests",),
            "input": ("input_tokens",),
            "cached": ("input_cached_tokens",),
            "cache_write": ("input_cache_write_tokens",),
            "output": ("output_tokens",),
        },
        until=("end_time", "end_time_iso"),
    ),
)
_OPENAI_WITHOUT_CALLS = frozenset(("start_time", "end_time", "start_time_iso", "end_time_iso"))
_COSTS = frozenset(("cost_usd", "amount_value", "list_price_usd"))


@dataclass(slots=True)
class _Sums:
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0))
    lines: list[int] = field(default_factory=list)


def read_export(path: Path, where: Mapping[str, str] | None = None) -> Export:
    """Only the rows with the values that `where` names, by column. Raises `Misconfigured` for what is no such file."""
    rows = _rows(path)
    header = next(rows, (1, []))[1]
    names = [_plain(name) for name in header]
    wanted = {_plain(name): value for name, value in (where or {}).items()}
    if unknown := sorted(wanted.keys() - set(names)):
        raise Misconfigured(f"{path} has no column {unknown[0]}; it has {', '.join(names) or 'none'}")
    for form in _FORMATS:
        columns = _columns(form, names)
        if columns is not None:
            return _added_up(path, form, columns, names, wanted, rows)
    raise Misconfigured(_refusal(path, names))


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not empty, with the line that it ends on."""
    try:
        said = path.read_bytes()
        text = said.decode("utf-16" if said[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except OSError as error:
        raise Misconfigured(f"the usage export {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Misconfigured(f"the usage export {path} is not text; save it as CSV in UTF-8") from error
    separator = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield reader.line_num, row
    except csv.Error as error:
        raise Misconfigured(f"the usage export {path}, line {reader.line_num}, is no CSV: {error}") from error


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def _columns(form: _Format, names: list[str]) -> dict[str, int] | None:
    """Which column has what, None where one is missing that is needed."""
    wanted = {"day": form.day, "model": form.model, "until": form.until, **form.counts}
    found = {ours: _place(theirs, names) for ours, theirs in wanted.items()}
    without_calls = form.provider == "openai" and set(names) == _OPENAI_WITHOUT_CALLS
    if not without_calls and any(found[ours] is None for ours in ("day", "model", *form.needed)):
        return None
    return {ours: place for ours, place in found.items() if place is not None}


def _place(wanted: Iterable[str], names: list[str]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)


def _refusal(path: Path, names: list[str]) -> str:
    wanted = "; or ".join(f"{form.provider}'s has at least the columns {form.wanted()}" for form in _FORMATS)
    what = "a cost export, which has no tokens" if _COSTS & set(names) else "no usage export that Clew knows"
    return f"{path} is {what}. {wanted}. This file has {', '.join(names) or 'nothing in it'}"


def _added_up(
    path: Path,
    form: _Format,
    columns: Mapping[str, int],
    names: list[str],
    where: Mapping[str, str],
    rows: Iterator[tuple[int, list[str]]],
) -> Export:
    found: dict[tuple[date, str], _Sums] = {}
    days: set[date] = set()
    passed_over = 0
    for line, cells in rows:
        row = _Row(path, line, dict(zip(names, (cell.strip() for cell in cells), strict=False)), names, columns)
        day, counts = row.day(), row.counts(form)
        days.add(day)
        if not any(counts.values()):
            continue
        if any(row.cells.get(name, "") != value for name, value in where.items()):
            passed_over += 1
            continue
        sums = found.setdefault((day, row.model()), _Sums())
        sums.lines.append(line)
        for name, count in counts.items():
            sums.counts[name] += count
    counted = tuple(name for name in COUNTED if name in columns)
    listed = [
        Listed(day, model, {name: sums.counts[name] for name in counted}, tuple(sums.lines))
        for (day, model), sums in sorted(found.items())
    ]
    return Export(form.provider, counted, tuple(listed), (min(days), max(days)) if days else None, passed_over)


@dataclass(frozen=True, slots=True)
class _Row:
    path: Path
    line: int
    cells: Mapping[str, str]
    names: list[str]
    columns: Mapping[str, int]

    def _wrong(self, what: str) -> Misconfigured:
        return Misconfigured(f"the usage export {self.path}, line {self.line}: {what}")

    def _said(self, column: str) -> str:
        return self.cells.get(self.names[self.columns[column]], "") if column in self.columns else ""

    def counts(self, form: _Format) -> dict[str, int]:
        """In our words, where a whole has its parts in it."""
        found = {name: self._count(name) for name in form.counts if name in self.columns}
        if form.apart:
            found["cache_write"] += found.get("cache_write_1h", 0)
            found["input"] += found["cached"] + found["cache_write"]
        return found

    def _count(self, column: str) -> int:
        """Whole, however it is written: 3, 3.0 or 1,234; a cell with nothing in it is none."""
        said = self._said(column)
        try:
            count = Decimal(said.replace(",", "") or 0)
        except InvalidOperation:
            count = Decimal(-1)
        if not count.is_finite() or count < 0 or count != count.to_integral_value():
            raise self._wrong(f"{self.names[self.columns[column]]} is {said!r}, which is no count")
        return int(count)

    def model(self) -> str:
        said = self._said("model")
        if not said:
            raise self._wrong("it has tokens but no model; export the usage by model")
        return said

    def day(self) -> date:
        begun = self._moment("day")
        if self._said("until") and self._moment("until") - begun > _LONGEST_BUCKET:
            raise self._wrong("it is of more than a day; export the usage by day, hour or minute")
        return begun.date()

    def _moment(self, column: str) -> datetime:
        said = self._said(column)
        try:
            if re.fullmatch(r"[0-9]+(\.0*)?", said):
                seconds = float(said)
                return datetime.fromtimestamp(seconds if seconds < _SECONDS_MAX else seconds / 1_000, UTC)
            moment = datetime.fromisoformat(re.sub(r"^(\d{4})/(\d\d?)/(\d\d?)", _dashed, said))
        except (ValueError, OverflowError, OSError):
            raise self._wrong(f"{self.names[self.columns[column]]} is {said!r}, which is no day or time") from None
        return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _dashed(found: re.Match[str]) -> str:
    year, month, day = (int(part) for part in found.groups())
    return f"{year:04}-{month:02}-{day:02}"
