"""Numbers of others are read and written as they were written."""

from __future__ import annotations

import copy
import json
from typing import Annotated, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, JsonValue, ValidationError

from clew import exact_json
from clew.exact_json import ExactObject, Number

AS_WRITTEN = [
    "1180591620717411303424",
    "-99999999999999999999",
    "18446744073709551616",
    "9" * 5000,
    "0.10",
    "1.0",
    "1e2",
    "1E+400",
    "-0",
    "-0.0",
    "3.141592653589793238462643383279",
    "123456789.123456789123456789",
]


@pytest.mark.parametrize("written", AS_WRITTEN)
@pytest.mark.parametrize("around", ["{}", "[{}]", '{{"a":{{"b":[1,{},"x"]}}}}'])
def test_a_number_is_written_as_it_was_read(written: str, around: str) -> None:
    text = around.format(written)
    assert exact_json.dumps(exact_json.loads(text)).decode() == text


_WRITTEN = st.one_of(
    st.integers().map(str),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
)


@given(st.lists(_WRITTEN, max_size=5))
def test_any_numbers_are_written_as_they_were_read(written: list[str]) -> None:
    text = f"[{','.join(written)}]"
    assert exact_json.dumps(exact_json.loads(text)).decode() == text


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(_VALUES)
def test_what_orjson_reads_rightly_is_read_as_orjson_reads_it(value: Any) -> None:
    written = orjson.dumps(value)
    assert exact_json.loads(written) == orjson.loads(written)
    assert exact_json.dumps(value) == written


@pytest.mark.parametrize("text", ["[NaN]", "[Infinity]", "[1.0.0]", "[01.50]", "0.10 x", "[0.10", "", "\N{NULL}0.10"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(json.JSONDecodeError):
        exact_json.loads(text)


@pytest.mark.parametrize("data", [b"\xff 0.10", b'["\\ud83d", 0.10]', b'["\\ud83d", 1]', b"[" * 100_000 + b"0.10"])
def test_what_no_text_can_hold_is_refused(data: bytes) -> None:
    with pytest.raises(json.JSONDecodeError):
        exact_json.loads(data)


def test_a_pair_of_surrogates_beside_an_odd_number_is_one_character() -> None:
    assert exact_json.loads(b'["\\ud83d\\ude00", 0.10]') == ["\N{GRINNING FACE}", 0.1]


def test_a_number_is_a_float_that_knows_its_digits() -> None:
    number = exact_json.loads("0.10")
    assert (number, str(number), number + 1) == (0.1, "0.10", 1.1)
    assert (number == Number("0.1"), number == Number("0.10")) == (False, True)
    assert copy.deepcopy(number).text == "0.10"


@pytest.mark.parametrize("value", [{1, 2}, object(), [{"a": b"x"}], [2**80, object()]])
def test_what_is_no_json_is_not_written(value: Any) -> None:
    with pytest.raises(TypeError):
        exact_json.dumps(value)


class Holder(BaseModel):
    held: Annotated[dict[str, JsonValue], ExactObject()]


def test_a_field_of_a_model_keeps_numbers() -> None:
    held = exact_json.loads('{"a":[0.10,{"b":1180591620717411303424}]}')
    assert exact_json.dumps(Holder(held=held).held) == exact_json.dumps(held)
    assert Holder.model_validate_json('{"held":{"a":1180591620717411303424}}').held["a"] == 2**70


def test_what_is_nested_too_deeply_is_refused_where_it_comes_in() -> None:
    def nested(depth: int) -> Any:
        return exact_json.loads('{"a":' * depth + "1" + "}" * depth)

    assert exact_json.dumps(Holder(held=nested(254)).held)
    for depth in (255, 1000):
        with pytest.raises(ValidationError, match="nested more than 254 deep"):
            Holder(held=nested(depth))
        with pytest.raises(TypeError):
            exact_json.dumps(nested(depth))


@pytest.mark.parametrize("held", [{"a": object()}, {"a": [{1: 2}]}, {1: 2}, {"a": float("nan")}, [], None])
def test_a_field_of_a_model_holds_json_only(held: Any) -> None:
    with pytest.raises(ValidationError):
        Holder(held=held)
