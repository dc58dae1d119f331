"""Counting tokens: exact where that is known, labelled where it is not, and never over the network."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
import time
from base64 import b64encode
from itertools import product
from pathlib import Path
from typing import NoReturn

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

import clew.tokens
from clew.tokens import Count, count_text, encoding_name_for, encodings, pack, warm

MODELS = {"o200k_base": "gpt-4o", "cl100k_base": "gpt-4"}

# Everything that the patterns of the two encodings treat differently, so that cuts fall on awkward places.
awkward = st.text(alphabet="aZé中\u0301\u017f1٣ \t\n\r\u3000\u00a0\x1c'/.-_<|>s😀", max_size=200)


def original(name: str) -> bytes:
    """The rank file as it was before it was packed."""
    ranked = enumerate(encodings.packed(name))
    return b"".join(b"%s %d\n" % (b64encode(token), rank) for rank, token in ranked)


@pytest.mark.parametrize("name", encodings.RANKS)
def test_unpacked_ranks_are_the_published_file(name: str) -> None:
    assert hashlib.sha256(original(name)).hexdigest() == encodings.RANKS[name].sha256


@pytest.mark.parametrize("name", encodings.RANKS)
def test_an_encoder_is_the_one_that_tiktoken_would_build(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.joinpath(encodings.RANKS[name].cached_as).write_bytes(original(name))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    theirs = tiktoken.get_encoding(name)
    ours = encodings.encoder(name)
    assert ours._pat_str == theirs._pat_str
    assert ours._mergeable_ranks == theirs._mergeable_ranks


@pytest.mark.parametrize(
    ("text", "o200k", "cl100k"),
    [
        ("", 0, 0),
        ("hello world", 2, 2),
        ("Ariadne gave Theseus a clew.", 10, 10),
        ("Der Faden führt zurück zum Ausgang.", 8, 10),
        ("アリアドネの糸", 7, 10),
        ("def f(x: int) -> int:\n    return x + 1\n", 16, 16),
        ("👩‍👩‍👧 1234567", 12, 17),
    ],
)
def test_counts_are_exact_for_known_models(text: str, o200k: int, cl100k: int) -> None:
    assert count_text(text, "gpt-4o") == Count("o200k_base", o200k, exact=True)
    assert count_text(text, "gpt-4") == Count("cl100k_base", cl100k, exact=True)


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-5", "o200k_base"),
        ("gpt-4o-2024-05-13", "o200k_base"),
        ("openai/gpt-4.1-mini", "o200k_base"),
        ("openrouter/openai/o3-mini", "o200k_base"),
        ("openai/gpt-oss-120b", "o200k_harmony"),
        ("gpt-4-0613", "cl100k_base"),
        ("ft:gpt-4o:acme::1", "o200k_base"),
        ("ft:gpt-4.1-mini-2025-04-14:acme::1", "o200k_base"),
        ("ft:gpt-3.5-turbo:acme::1", "cl100k_base"),
    ],
)
def test_a_known_model_has_its_encoding(model: str, encoding: str) -> None:
    assert encoding_name_for(model) == (encoding, True)
    assert count_text("hello world", model) == Count(encoding, 2, exact=True)


@pytest.mark.parametrize("model", ["gpt-6", "anthropic/claude-x", "mistral-large", "davinci", "ft:", "a/", ""])
def test_the_count_for_any_other_model_is_labelled_an_estimate(model: str) -> None:
    assert encoding_name_for(model) == ("o200k_base", False)
    assert count_text("hello world", model) == Count("o200k_base", 2, exact=False)


def test_special_tokens_are_ordinary_text() -> None:
    for special in ("<|endoftext|>", "<|start|>system<|message|>", "<|fim_prefix|>"):
        for model in ("gpt-4o", "gpt-4", "gpt-oss-20b"):
            assert count_text(special, model).count > 3


def test_half_a_surrogate_pair_counts_as_the_replacement_character() -> None:
    for half in ("\ud83d", "\ude00"):
        assert count_text(f"a {half} b", "gpt-4o") == count_text("a \ufffd b", "gpt-4o")
    assert count_text("\ud83d\ude00", "gpt-4o") == count_text("😀", "gpt-4o")
    assert count_text("\ud83d" * 50_000, "gpt-4o").count > 0


@pytest.mark.parametrize("name", MODELS)
def test_no_safe_cut_changes_a_short_text(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clew.tokens, "CHUNK_CHARS_MAX", 3)
    encoder = encodings.encoder(name)
    for letters in product("Ims中1. \t\n\r'/\u3000", repeat=4):
        counted = count_text(text := "".join(letters), MODELS[name])
        assert not counted.exact or counted.count == len(encoder.encode_ordinary(text)), text


@pytest.mark.parametrize("name", MODELS)
@given(text=awkward)
def test_cutting_a_text_changes_nothing_unless_the_count_says_so(name: str, text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clew.tokens, "CHUNK_CHARS_MAX", 9)
        counted = count_text(text, MODELS[name])
    assert not counted.exact or counted.count == len(encodings.encoder(name).encode_ordinary(text))


def test_a_long_text_with_words_is_counted_exactly() -> None:
    for text in (
        "It follows the thread. " * 20_000,
        '{"key":[1,2,"value"]},' * 20_000,
        "糸を辿る。\n" * 20_000,
    ):
        for name, model in MODELS.items():
            whole = len(encodings.encoder(name).encode_ordinary(text))
            assert count_text(text, model) == Count(name, whole, exact=True)


@pytest.mark.parametrize("model", MODELS.values())
@pytest.mark.parametrize("unit", ["a", " ", "\n", "^", "1", "中", "aA", " \n", "\u0301", "😀"])
def test_a_million_characters_without_a_word_are_estimated_in_seconds(unit: str, model: str) -> None:
    warm()
    text = unit * (1_000_000 // len(unit)) + "x"
    before = time.perf_counter()
    counted = count_text(text, model)
    assert time.perf_counter() - before < 10
    assert 0 < counted.count <= 3 * len(text)
    # A shorter part can be counted whole, and cutting it has to come close to that.
    part = text[-200_000:]
    whole = len(encodings.encoder(encoding_name_for(model)[0]).encode_ordinary(part))
    assert abs(count_text(part, model).count - whole) <= 0.005 * whole + 20


def test_a_text_of_spaces_only_is_an_estimate() -> None:
    assert not count_text(" " * 1_000_000, "gpt-4o").exact


@pytest.mark.parametrize("name", encodings.RANKS)
def test_an_operators_own_cache_is_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.joinpath(encodings.RANKS[name].cached_as).write_bytes(original(name))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(encodings, "packed", lambda name: pytest.fail("the packed ranks were read"))
    monkeypatch.setattr(encodings, "_encoders", {})
    assert count_text("Ariadne gave Theseus a clew.", MODELS[name]) == Count(name, 10, exact=True)
    assert [file.name for file in tmp_path.iterdir()] == [encodings.RANKS[name].cached_as]


@pytest.mark.parametrize("lies_there", [b"", b"IQ== 0\n"])
def test_an_operators_cache_that_holds_something_else_is_told_of_and_not_used(
    lies_there: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / encodings.RANKS["o200k_base"].cached_as
    path.write_bytes(lies_there)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(encodings, "_encoders", {})
    assert count_text("hello world", "gpt-4o") == Count("o200k_base", 2, exact=True)
    assert str(path) in caplog.text
    assert path.read_bytes() == lies_there


def test_nothing_is_asked_of_the_network_or_written_to_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise AssertionError("a token was counted over the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(encodings, "_encoders", {})
    warm()
    assert set(encodings._encoders) == set(encodings.RANKS)
    assert count_text("hello world", "gpt-5").count == 2
    assert not list(tmp_path.iterdir())


def test_importing_loads_neither_tiktoken_nor_ranks() -> None:
    lines = "import sys, clew.tokens; assert not {'tiktoken', 'lzma'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", lines], check=True)


def test_packing_the_original_gives_the_ranks_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "cl100k_base.tiktoken"
    source.write_bytes(original("cl100k_base"))
    monkeypatch.setattr(pack, "__file__", str(tmp_path / "pack.py"))
    pack.main([str(source)])
    carried = Path(encodings.__file__).with_name("cl100k_base.bin.xz")
    assert tmp_path.joinpath("cl100k_base.bin.xz").read_bytes() == carried.read_bytes()


def test_a_changed_file_is_not_packed(tmp_path: Path) -> None:
    source = tmp_path / "cl100k_base.tiktoken"
    source.write_bytes(b"IQ== 0\n")
    with pytest.raises(SystemExit, match="checksum"):
        pack.main([str(source)])


@pytest.mark.parametrize("line", [b"IQ== 1\n", b"%s 0\n" % b64encode(bytes(256))])
def test_what_the_packed_form_cannot_hold_is_not_packed(line: bytes) -> None:
    with pytest.raises(ValueError, match="must be"):
        pack.pack(line)
