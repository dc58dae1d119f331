"""Verifying: every chain, every position, and the tree against what was signed. Faults are told with their place.

A chain shows what was changed in a stream. The tree and its checkpoints show what no chain can: that the end of the
log was cut off, that a stream was written anew as a whole, that events of different streams changed places. What was
signed and is held elsewhere counts most, since whoever can write to the store can write to its tree as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from clew.errors import DamagedTree, Misconfigured, NotFound
from clew.log import Reader
from clew.log.chain import FIRST, misfit
from clew.proof import merkle
from clew.proof.checkpoint import Note, VerifierKey, parse_key, parse_note
from clew.proof.regrown import MISSING, Regrown
from clew.proof.tiles import Tiles
from clew.proof.tree import TreeHead, has_tree, load_tile, notes, tiles, tree_head

_PAGE_EVENTS = 2_000
FAULTS_MAX = 100
# Only somebody's hand makes holes this large; nothing is gained by filling them.
_HOLE_MAX = 1_000_000
_BEGINNING = (0, FIRST)

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """`first` and `last` are positions: something between them is not as it was. `stream` when it is known which."""

    found_by: Literal["chain", "positions", "tree", "checkpoint"]
    first: int
    last: int
    told: str
    stream: str | None = None
    version: int | None = None

    def __str__(self) -> str:
        if self.stream is not None:
            return f"event {self.version} of {self.stream} (position {self.first}): {self.told}"
        where = f"position {self.first}" if self.first == self.last else f"positions {self.first} to {self.last}"
        return f"{where}: {self.told}"


@dataclass(slots=True)
class Report:
    """`covered` events are in a checkpoint that was verified; what is newer is held by its chains alone.

    `held` counts the checkpoints from outside that the log was found to extend. `more`: there were more faults.
    """

    events: int = 0
    streams: int = 0
    erased: int = 0
    covered: int = 0
    checkpoints: int = 0
    held: int = 0
    origin: str | None = None
    key: str | None = None
    faults: list[Fault] = field(default_factory=list)
    more: bool = False

    def add(self, fault: Fault) -> None:
        if len(self.faults) < FAULTS_MAX:
            self.faults.append(fault)
        else:
            self.more = True


@dataclass(frozen=True, slots=True)
class Mark:
    """A checkpoint to compare with. `held`: it comes from outside, so nobody at the store can have changed it."""

    note: Note
    held: bool

    @property
    def size(self) -> int:
        return self.note.checkpoint.size

    @property
    def root(self) -> bytes:
        return self.note.checkpoint.root

    @property
    def told(self) -> str:
        return f"{'the checkpoint that was given' if self.held else 'the signed checkpoint'} of {self.size} events"


@dataclass(slots=True)
class Marks:
    """The checkpoints of the store and those held elsewhere. `key` tells whether they are the log's."""

    key: VerifierKey | None
    covered: int = 0
    all: list[Mark] = field(default_factory=list)

    def genuine(self, mark: Mark) -> bool:
        if self.key is None:
            return mark.held
        return self.key.signed(mark.note)


def verify_log(
    reader: Reader,
    *,
    held: Sequence[Note] = (),
    key: VerifierKey | None = None,
    progress: Progress = lambda done, of: None,
) -> Report:
    """The whole log. `key`: whose signatures count; else the store is believed about whose they are."""
    report = Report()
    marks = _marks(reader, report, held, key)
    tree = Regrown(lambda level, number: load_tile(reader, level, number), marks.covered)
    roots = _walk(reader, report, tree, {mark.size for mark in marks.all}, progress)
    tree.finish()
    _compare(report, tree, marks, roots)
    report.faults.sort(key=lambda fault: (fault.first, fault.last))
    return report


def verify_stream(reader: Reader, stream: str, *, held: Sequence[Note] = (), key: VerifierKey | None = None) -> Report:
    """One stream: its chain, and that each of its events is beneath the root that was signed.

    That nothing is missing at its end, only the whole log can show.
    """
    report = Report(streams=1)
    marks = _marks(reader, report, held, key)
    wanted = [mark for mark in marks.all if mark.held]
    for newest in [mark for mark in marks.all if not mark.held][-1:]:
        if marks.genuine(newest):
            wanted.append(newest)
        else:
            report.add(_not_genuine(newest))
    stored = tiles(reader)
    version, before = 0, FIRST
    for row in evidence(reader, stream):
        version, before = _check(report, row, version + 1, before)
        report.events += 1
        for mark in wanted:
            _check_inclusion(report, stored, mark, row)
    if not report.events:
        raise NotFound(noun="thread", id=stream)
    if all(fault.found_by == "chain" for fault in report.faults):
        report.covered = max((mark.size for mark in wanted), default=0)
        report.held = sum(mark.held for mark in wanted)
    return report


def _check_inclusion(report: Report, stored: Tiles, mark: Mark, row: Any) -> None:
    position, hashed = row[0], row[-1]
    if position > mark.size:
        return
    try:
        proof = merkle.inclusion_proof(stored.node, position - 1, mark.size)
    except DamagedTree as damage:
        report.add(Fault("tree", damage.first, damage.last, str(damage)))
        return
    leaf = merkle.leaf_hash(hashed) if isinstance(hashed, bytes) else MISSING
    if not merkle.includes(mark.root, mark.size, position - 1, leaf, proof):
        told = f"by the stored tree it is not beneath the root of {mark.told}"
        report.add(Fault("tree", position, position, told, row[2], row[3]))


def _marks(reader: Reader, report: Report, held: Sequence[Note], key: VerifierKey | None) -> Marks:
    """What the store says of its tree. Checkpoints that cannot be read, or are of another log, are faults."""
    head = tree_head(reader) if has_tree(reader) else None
    stored = notes(reader) if head is not None else []
    if head is None:
        report.origin = held[0].checkpoint.origin if held else None
        if held:
            told = "a checkpoint was given, but the store has none and no tree: both were taken away"
            report.add(Fault("checkpoint", 1, held[-1].checkpoint.size, told))
    else:
        report.origin = head.origin
        key = key or _key_of_store(report, head)
        if head.size != (stored[-1][0] if stored else 0):
            told = f"the stored tree has {head.size} events, its newest checkpoint another number: some are gone"
            report.add(Fault("checkpoint", 1, max(head.size, 1), told))
    report.key = str(key) if key is not None else None
    report.checkpoints = len(stored)
    marks = Marks(key, head.size if head is not None else 0)
    for note in held:
        marks.all.append(_held(report, note, marks))
    for size, written in stored:
        mark = _stored(size, written, report.origin)
        if isinstance(mark, Fault):
            report.add(mark)
        else:
            marks.all.append(mark)
    marks.all.sort(key=lambda mark: mark.size)
    return marks


def _key_of_store(report: Report, head: TreeHead) -> VerifierKey | None:
    try:
        return parse_key(head.verifier)
    except Misconfigured:
        report.add(Fault("checkpoint", 1, 1, "the store does not hold the key that its checkpoints are signed with"))
        return None


def _stored(size: int, written: str, origin: str | None) -> Mark | Fault:
    try:
        note = parse_note(written)
    except Misconfigured:
        return Fault("checkpoint", 1, max(size, 1), f"what the store holds as the checkpoint of {size} is none")
    if (note.checkpoint.origin, note.checkpoint.size) != (origin, size):
        return Fault("checkpoint", 1, max(size, 1), f"what the store holds as the checkpoint of {size} is another one")
    return Mark(note, held=False)


def _held(report: Report, note: Note, marks: Marks) -> Mark:
    mark = Mark(note, held=True)
    if note.checkpoint.origin != report.origin:
        told = f"the checkpoint that was given is of {note.checkpoint.origin}, and this log is {report.origin}"
        report.add(Fault("checkpoint", 1, max(mark.size, 1), told))
    if not marks.genuine(mark):
        report.add(_not_genuine(mark))
    return mark


def _not_genuine(mark: Mark) -> Fault:
    return Fault("checkpoint", 1, max(mark.size, 1), f"{mark.told} was not signed with the key of this log")


def evidence(reader: Reader, stream: str | None = None) -> Iterator[Any]:
    """The rows of the log, or of a stream, with whatever is in them."""
    after = -(2**62)
    while page := reader.evidence(after, _PAGE_EVENTS, stream):
        yield from page
        after = page[-1][0] if stream is None else page[-1][3]
        if not isinstance(after, int):
            return


def _check(report: Report, row: Any, version: int, before: bytes) -> tuple[int, bytes]:
    """Whether an event follows; gives what the next is to follow from, so that one fault is told once."""
    position, partition, stream, its_version, kind, at, actor, state, salt, body, hashed = row
    why = misfit(before, partition, stream, its_version, kind, at, actor, state, salt, body, hashed)
    if its_version != version:
        why = f"version {version} should be here"
    if why is not None:
        report.add(Fault("chain", position, position, why, str(stream), its_version))
    if salt is None and state is None:
        report.erased += 1
    if why is None:
        return version, hashed
    return its_version if isinstance(its_version, int) else version, hashed if isinstance(hashed, bytes) else FIRST


def _walk(reader: Reader, report: Report, tree: Regrown, sizes: set[int], progress: Progress) -> dict[int, bytes]:
    """All events in order of position; gives the roots of the tree at `sizes`, as far as the log goes."""
    heads: dict[Any, tuple[int, bytes]] = {}
    roots = {0: tree.root()}
    end, newest = reader.head(), max(sizes, default=0)
    last, last_at = 0, 0
    for row in evidence(reader):
        position, stream, at = row[0], row[2], row[5]
        version, before = heads.get(stream, _BEGINNING)
        heads[stream] = _check(report, row, version + 1, before)
        report.events += 1
        if position < 1:
            report.add(Fault("positions", position, position, "no event of Clew's has this position"))
            continue
        if position != last + 1:
            report.add(Fault("positions", last + 1, position - 1, "what was here is gone"))
            # The tree is filled up, so that the events after the hole are compared at their own places.
            for _ in range(last + 1, min(position, newest + 1, last + _HOLE_MAX)):
                tree.add(None)
                if tree.size in sizes:
                    roots[tree.size] = tree.root()
        if isinstance(at, int):
            if at < last_at:
                report.add(Fault("positions", position, position, "its time is before that of the event before it"))
            last_at = at
        tree.add(row[-1])
        if tree.size in sizes:
            roots[tree.size] = tree.root()
        last = position
        if not report.events % _PAGE_EVENTS:
            progress(report.events, end)
    if (ever := reader.newest_ever()) > last:
        report.add(Fault("positions", last + 1, ever, "what was here is gone, by the store's own count"))
    report.streams = len(heads)
    progress(report.events, report.events)
    return roots


def _compare(report: Report, tree: Regrown, marks: Marks, roots: dict[int, bytes]) -> None:
    """What was signed with what is there. `sound`: as far as a checkpoint that fits says that nothing was changed."""
    fitting = [mark for mark in marks.all if roots.get(mark.size) == mark.root]
    broken = []
    for mark in marks.all:
        if roots.get(mark.size) != mark.root:
            if mark.held or marks.genuine(mark):
                broken.append(mark)
            else:
                report.add(_not_genuine(mark))
    first = broken[0].size if broken else float("inf")
    sound = 0
    for mark in reversed(fitting):
        # That of the newest says enough: a signature costs more than a hundred events.
        if mark.size < first:
            if marks.genuine(mark):
                sound = mark.size
                break
            if not mark.held:
                report.add(_not_genuine(mark))
    report.covered = sound
    report.held = sum(mark.held and mark.size < first and marks.genuine(mark) for mark in fitting)
    _tell_broken(report, tree.size, sound, broken)
    _tell_differences(report, tree, sound, signed=max((mark.size for mark in broken), default=0))


def _tell_broken(report: Report, end: int, sound: int, broken: Sequence[Mark]) -> None:
    for mark in [mark for mark in broken if mark.size > end][-1:]:
        told = f"the log ends at {end}, but {mark.told} says that these were there"
        report.add(Fault("tree", end + 1, mark.size, told))
    for mark in [mark for mark in broken if mark.size <= end][:1]:
        report.add(Fault("tree", sound + 1, mark.size, f"something here is not what {mark.told} says"))


def _tell_differences(report: Report, tree: Regrown, sound: int, *, signed: int) -> None:
    """Single events, by the stored tree. As far as the events are sound, it is the tree that was changed."""
    for position in tree.differing:
        if position <= sound:
            told = "the stored tree has another hash here, though the event is the one that was signed"
        elif position <= signed:
            told = "by the stored tree, this event is not the one that was signed"
        else:
            told = "this event is not the one in the stored tree"
        report.add(Fault("tree", position, position, told))
    for first, last in tree.torn:
        report.add(Fault("tree", first, last, "the stored tree does not fit the events"))
