"""The operator's own prices: a TOML file, for models that no table knows and for contracts that no table knows.

    [[price]]
    provider = "openai"        # as in `provider/model`; left out: any
    model = "ft:gpt-4o:acme*"  # with * for anything
    from = 2026-10-01          # the first day, UTC; left out: always
    input = 3.75               # US dollars for a million tokens
    cache_read = 1.875         # the kinds that are left out cost what the wider kind costs
    output = 15
    web_searches = 10          # for a thousand of them

    [[price]]                  # the same, where it is served at another price
    provider = "openai"
    model = "ft:gpt-4o:acme*"
    when = { service_tier = "flex" }
    input = 1.875
    output = 7.5

Of several that fit, the last in the file holds. One without `when` fits however a call was served.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from clew.errors import Misconfigured
from clew.prices.units import COUNTED, KINDS


def _number(value: Any) -> Any:
    """Numbers of TOML are decimals when they come here; a truth value is none, though it is an `int` to Python."""
    return value if not isinstance(value, bool) else None


# With more digits an amount could not be computed to its last place.
_Price = Annotated[Decimal, BeforeValidator(_number), Field(ge=0, allow_inf_nan=False, max_digits=20)]
_Served = Literal["service_tier", "speed", "processing"]


class _Line(BaseModel):
    """One `[[price]]` of the file."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    model: str
    provider: str | None = None
    since: date | None = Field(default=None, alias="from")
    when: dict[_Served, str] = {}
    input: _Price
    output: _Price
    cache_read: _Price | None = None
    cache_write: _Price | None = None
    cache_write_1h: _Price | None = None
    input_audio: _Price | None = None
    output_reasoning: _Price | None = None
    output_audio: _Price | None = None
    web_searches: _Price | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    price: list[_Line] = []


@dataclass(frozen=True, slots=True)
class Override:
    """`prices` are for a million tokens, by kind; that of a kind that is counted is for a thousand."""

    table: str
    provider: str | None
    model: str
    since: date | None
    prices: Mapping[str, Decimal]
    when: Mapping[_Served, str] = field(default_factory=dict)

    def fits(self, provider: str, model: str, day: date, context: Mapping[str, str]) -> bool:
        if self.provider is not None and self.provider != provider:
            return False
        if any(context.get(name) != value for name, value in self.when.items()):
            return False
        return fnmatchcase(model, self.model) and (self.since is None or self.since <= day)


def read_overrides(path: Path) -> tuple[Override, ...]:
    """Raises `Misconfigured`. The table's name holds the file's digest: a changed file is another table."""
    try:
        said = path.read_bytes()
        file = _File.model_validate(tomllib.loads(said.decode("utf-8-sig"), parse_float=Decimal))
    except OSError as error:
        raise Misconfigured(f"the price file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Misconfigured(f"the price file {path} is not UTF-8 text") from error
    except ValidationError as error:
        raise Misconfigured(f"the price file {path}, {_first_of(error)}") from error
    except ValueError as error:
        # Mostly a TOMLDecodeError; a number of thousands of digits is another one.
        raise Misconfigured(f"the price file {path} is no TOML: {error}") from error
    table = f"{path.name}/{hashlib.sha256(said).hexdigest()[:12]}"
    return tuple(_override(table, line) for line in file.price)


def _first_of(error: ValidationError) -> str:
    """Which `[[price]]` it is, counted as people count, and what is wrong there."""
    first = error.errors()[0]
    place = [str(part + 1) if isinstance(part, int) else str(part) for part in first["loc"]]
    return f"{' '.join(place)}: {first['msg']}"


def _override(table: str, line: _Line) -> Override:
    found = {kind: getattr(line, kind) for kind in (*KINDS, *COUNTED) if kind in _Line.model_fields}
    prices = {kind: price for kind, price in found.items() if price is not None}
    return Override(table, line.provider, line.model, line.since, prices, line.when)


def newest_fitting(
    overrides: Sequence[Override], provider: str, model: str, day: date, context: Mapping[str, str]
) -> Override | None:
    return next((one for one in reversed(overrides) if one.fits(provider, model, day, context)), None)
