"""What was exported is verified by one file, without Clew; what was changed in an export is found by it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.errors import NotCovered, NotFound
from clew.log import Log, open_store
from clew.proof import export, standalone
from clew.proof.checkpoint import parse_note
from clew.proof.tree import newest_note, tree_head
from tests.proof.logs import OTHER_SIGNER, SIGNER, fill, opened, signed_log
from tests.proof.planting import flipped

ALONE = Path(standalone.__file__)
SIGNED = 45


@pytest.fixture
def log(lasting_store: str) -> Iterator[Log]:
    async def build() -> None:
        await signed_log(lasting_store, 20, SIGNED - 20)
        async with opened(lasting_store) as writing:
            await fill(writing, 15, seed=9)

    asyncio.run(build())
    log = Log(open_store(lasting_store, writing=False))
    yield log
    log.close()


def exported(log: Log, file: Path, thread: str | None = None, held: str | None = None) -> Path:
    with log.reading() as reader:
        note = parse_note(held) if held is not None else None
        file.write_bytes(b"".join(export.lines(reader, thread, held=note)))
    return file


def notes_of(log: Log) -> list[str]:
    with log.reading() as reader:
        return [row[0] for row in reader.rows("select note from proof_checkpoints order by size")]


def key_of(log: Log) -> str:
    with log.reading() as reader:
        head = tree_head(reader)
    assert head is not None
    return head.verifier


def verdict(*arguments: str | Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = standalone.main([str(argument) for argument in arguments])
    return code, capsys.readouterr().out


def test_the_verifier_needs_neither_clew_nor_any_package(log: Log, tmp_path: Path) -> None:
    """Isolated and without site packages, so that a signature cannot be checked either, and that is said."""
    file = exported(log, tmp_path / "log.jsonl")
    alone = tmp_path / "standalone.py"
    alone.write_bytes(ALONE.read_bytes())
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(alone), str(file)], capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all holds" in done.stdout
    assert "NOT checked" in done.stdout


def test_it_runs_as_a_module_of_clew(log: Log, tmp_path: Path) -> None:
    file = exported(log, tmp_path / "log.jsonl")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "clew.proof.standalone", str(file)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NOT checked" not in done.stdout


def test_an_export_of_the_log_holds_and_extends_what_is_held(
    log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = exported(log, tmp_path / "log.jsonl")
    for number, note in enumerate(notes_of(log)):
        held = tmp_path / f"held-{number}"
        held.write_text(note)
        code, said = verdict(file, "--checkpoint", held, "--key", key_of(log), capsys=capsys)
        assert code == standalone.HOLDS, said
        assert "15 events are newer" in said
        assert "it extends the checkpoint" in said


def test_an_export_of_a_thread_holds_and_extends_what_is_held(
    log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, note in enumerate(notes_of(log)):
        held = tmp_path / f"held-{number}"
        held.write_text(note)
        file = exported(log, tmp_path / "thread.jsonl", "thread-1", held=note)
        code, said = verdict(file, "--checkpoint", held, capsys=capsys)
        assert code == standalone.HOLDS, said
        assert "it extends the checkpoint" in said
    file = exported(log, tmp_path / "thread.jsonl", "thread-1")
    (tmp_path / "old").write_text(notes_of(log)[0])
    code, said = verdict(file, "--checkpoint", tmp_path / "old", capsys=capsys)
    assert code == standalone.CHANGED
    assert "make it with that one" in said


def test_an_erased_event_is_exported_as_such(log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = exported(log, tmp_path / "log.jsonl")
    header, *events, end = [json.loads(line) for line in file.read_text().splitlines()]
    events[7] |= {"salt": None, "body": None, "erased": True}
    write(file, [header, *events, end])
    code, said = verdict(file, capsys=capsys)
    assert code == standalone.HOLDS, said
    assert "1 of them were erased" in said


def write(file: Path, found: list[dict[str, Any]]) -> None:
    file.write_bytes(b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in found))


Change = Callable[[Random, list[dict[str, Any]]], None]


def other_bytes(name: str) -> Change:
    def change(chance: Random, events: list[dict[str, Any]]) -> None:
        event = chance.choice(events)
        event[name] = base64.b64encode(flipped(chance, base64.b64decode(event[name]))).decode()

    return change


def other(name: str, value: Callable[[Any], Any]) -> Change:
    def change(chance: Random, events: list[dict[str, Any]]) -> None:
        event = chance.choice(events)
        event[name] = value(event[name])

    return change


def drop(chance: Random, events: list[dict[str, Any]]) -> None:
    events.pop(chance.randrange(len(events) - 1))


def swap(chance: Random, events: list[dict[str, Any]]) -> None:
    one, another = chance.sample(range(len(events)), 2)
    events[one], events[another] = events[another], events[one]


def without_body(chance: Random, events: list[dict[str, Any]]) -> None:
    chance.choice(events)["body"] = None


CHANGES: dict[str, Change] = {
    **{name: other_bytes(name) for name in ("salt", "body", "body_hash", "hash")},
    "kind": other("kind", lambda kind: kind + "x"),
    "at": other("at", lambda at: at + 1),
    "version": other("version", lambda version: version + 1),
    "stream": other("stream", lambda stream: "thread-7"),
    "actor": other("actor", lambda actor: "key_9"),
    "partition": other("partition", lambda partition: 1),
    "position": other("position", lambda position: position - 1),
    "drop": drop,
    "swap": swap,
    "without body": without_body,
}


@pytest.mark.parametrize("thread", [None, "thread-1"], ids=["log", "thread"])
@pytest.mark.parametrize("name", CHANGES)
def test_what_is_changed_in_an_export_is_found(name: str, thread: str | None, tmp_path: Path) -> None:
    store = str(tmp_path / "log.db")
    asyncio.run(signed_log(store, SIGNED))
    log = Log(open_store(store, writing=False))
    file = exported(log, tmp_path / "export.jsonl", thread)
    log.close()
    lines = file.read_bytes().splitlines()
    for seed in range(10):
        header, *events, end = [json.loads(line) for line in lines]
        CHANGES[name](Random(f"{name} {seed}"), events)
        end["events"] = len(events)
        write(file, [header, *events, end])
        assert standalone.main([str(file)]) == standalone.CHANGED, f"seed {seed}"


def test_an_export_that_was_cut_or_signed_by_another_is_found(
    log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = exported(log, tmp_path / "log.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-1]))
    assert verdict(file, capsys=capsys)[0] == standalone.CHANGED
    file.write_bytes(b"".join(lines[:30]) + orjson.dumps({"end": True, "events": 29}))
    code, said = verdict(file, capsys=capsys)
    assert code == standalone.CHANGED
    assert "after 29 they are missing" in said
    header = json.loads(lines[0])
    note = parse_note(header["checkpoint"]).checkpoint
    header["checkpoint"] = OTHER_SIGNER.sign(note)
    header["key"] = str(OTHER_SIGNER.verifier(note.origin))
    file.write_bytes(orjson.dumps(header) + b"\n" + b"".join(lines[1:]))
    assert verdict(file, capsys=capsys)[0] == standalone.HOLDS
    assert verdict(file, "--key", str(SIGNER.verifier(note.origin)), capsys=capsys)[0] == standalone.CHANGED


def test_what_is_no_export_is_not_called_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "any"
    for content in ("", "{}", "not json", '{"clew_export": 99}'):
        file.write_text(content)
        assert verdict(file, capsys=capsys)[0] == standalone.UNREADABLE
    assert verdict(tmp_path / "missing", capsys=capsys)[0] == standalone.UNREADABLE


def test_a_log_without_a_checkpoint_is_exported_with_its_chains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def build() -> None:
        async with opened(str(tmp_path / "log.db")) as writing:
            await fill(writing, 10)

    asyncio.run(build())
    log = Log(open_store(str(tmp_path / "log.db"), writing=False))
    for thread in (None, "thread-1"):
        code, said = verdict(exported(log, tmp_path / "log.jsonl", thread), capsys=capsys)
        assert code == standalone.HOLDS
        assert "held together by their chains only" in said
    with log.reading() as reader:
        assert newest_note(reader) is None
        with pytest.raises(NotFound):
            list(export.lines(reader, "thread-none"))
        with pytest.raises(NotCovered):
            list(export.lines(reader, held=parse_note(OTHER_SIGNER.sign(parse_note(NOTE).checkpoint))))
    log.close()


NOTE = "clew/x\n5\n" + base64.b64encode(bytes(32)).decode() + "\n\n— clew/x AAAAAAAA\n"


@given(st.text(st.characters(exclude_categories=["Cs"])), st.none() | st.text(st.characters(exclude_categories=["Cs"])))
def test_python_writes_the_hashed_header_as_clew_does(kind: str, actor: str | None) -> None:
    """Clew hashes what orjson writes; who has only Python must get the same bytes."""
    facts = [0, "thread_1", 1, kind, 1_700_000_000_000_000, actor]
    assert json.dumps(facts, separators=(",", ":"), ensure_ascii=False).encode() == orjson.dumps(facts)
