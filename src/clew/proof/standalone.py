"""Verifies an export of Clew. This one file and Python are all it needs: neither Clew nor its store.

    python standalone.py EXPORT [--checkpoint FILE] [--key KEY]

--checkpoint: one that was kept elsewhere before (`clew checkpoint`); the export must extend it. For the export of a
thread, make it with the same `--checkpoint`, so that it brings the proof. --key: the log's, as `clew checkpoint --key`
printed it; else the export is believed about whose signature it bears. Signatures are checked with the package
`cryptography` if it is there. Exit code 0: all holds; 1: something was changed; 2: this cannot be read.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Any

Line = dict[str, Any]

HOLDS, CHANGED, UNREADABLE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Verifies an export of Clew.")
    parser.add_argument("export")
    parser.add_argument("--checkpoint", help="a checkpoint that was kept elsewhere")
    parser.add_argument("--key", help="the log's verifier key")
    chosen = parser.parse_args(arguments)
    try:
        held = None
        if chosen.checkpoint:
            with open(chosen.checkpoint, encoding="utf-8") as file:
                held = Note(file.read())
        with open(chosen.export, encoding="utf-8") as file:
            export = Export(file, held, chosen.key)
            export.verify()
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"this cannot be read: {type(error).__name__}: {error}")
        return UNREADABLE
    for told in export.faults[:100]:
        print(f"BAD  {told}")
    for told in export.told:
        print(f"     {told}")
    print("SOMETHING WAS CHANGED" if export.faults else "all holds")
    return CHANGED if export.faults else HOLDS


class Note:
    """A checkpoint: origin, size and root, and the signatures beneath them."""

    def __init__(self, written: str) -> None:
        text, parted, signatures = written.rpartition("\n\n")
        if not parted:
            raise ValueError("a checkpoint without a signature")
        self.text = text + "\n"
        self.origin, size, root, *_ = text.split("\n")
        self.size, self.root = int(size), base64.b64decode(root, validate=True)
        self.signatures = [line.split(" ")[1:] for line in signatures.splitlines()]

    def signed_by(self, key: str) -> bool | None:
        """Whether the key of that name signed it; None where there is nothing to check it with."""
        try:
            from cryptography.exceptions import InvalidSignature
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        except ImportError:
            return None
        name, _, encoded = key.split("+", 2)
        public = base64.b64decode(encoded)[1:]
        key_id = sha256(name.encode() + b"\n\x01" + public).digest()[:4]
        for signer, signature in self.signatures:
            raw = base64.b64decode(signature)
            if signer == name and raw[:4] == key_id:
                try:
                    Ed25519PublicKey.from_public_bytes(public).verify(raw[4:], self.text.encode())
                except InvalidSignature:
                    return False
                return True
        return False


class Export:
    """Read line by line, so that it may be of any length. `faults` says what does not hold."""

    def __init__(self, lines: Iterable[str], held: Note | None, key: str | None) -> None:
        self.lines: Iterator[Line] = (json.loads(line) for line in lines)
        self.header: Line = next(self.lines, {})
        if self.header.get("clew_export") != 1:
            raise ValueError("no export of Clew, or of a newer one")
        self.thread = self.header["thread"]
        self.note = Note(self.header["checkpoint"]) if self.header["checkpoint"] else None
        self.held, self.key = held, key or self.header["key"]
        self.faults: list[str] = []
        self.told: list[str] = []
        self.peaks: list[bytes] = []
        self.size, self.roots = 0, {0: sha256(b"").digest()}
        self.events = self.erased = self.newer = 0

    def verify(self) -> None:
        self.check_signatures()
        heads: dict[str, tuple[int, bytes]] = {}
        ended, position = None, 0
        for event in self.lines:
            if event.get("end"):
                ended = event["events"]
                continue
            self.check_event(event, heads)
            if self.thread is None:
                position += 1
                if event["position"] != position:
                    self.bad(event, f"position {position} should be here")
                self.grow(event)
            else:
                self.check_inclusion(event)
            self.events += 1
        if ended != self.events:
            self.faults.append(f"the export is not whole: {self.events} events are here, {ended} were written")
        self.check_roots()
        self.tell()

    def bad(self, event: Line, why: str) -> None:
        self.faults.append(f"event {event['version']} of {event['stream']} (position {event['position']}): {why}")

    def check_signatures(self) -> None:
        for what, note in (("the checkpoint of the export", self.note), ("the checkpoint given", self.held)):
            if note is None:
                continue
            if note.origin != self.header["origin"]:
                self.faults.append(f"{what} is of another log, {note.origin}")
            signed = note.signed_by(self.key) if self.key else None
            if self.key is None:
                self.told.append(f"the signature of {what} was NOT checked: give the log's key with --key")
            elif signed is None:
                self.told.append(f"the signature of {what} was NOT checked: install the package `cryptography`")
            elif not signed:
                self.faults.append(f"{what} was not signed with the key {self.key}")

    def check_event(self, event: Line, heads: dict[str, tuple[int, bytes]]) -> None:
        version, before = heads.get(event["stream"], (0, bytes(32)))
        body_hash, hashed = decoded(event["body_hash"]), decoded(event["hash"])
        if event.get("erased") and event["salt"] is None and event["body"] is None:
            self.erased += 1
        elif event["salt"] is None or event["body"] is None:
            self.bad(event, "its body or its salt is missing")
        elif sha256(decoded(event["salt"]) + decoded(event["body"])).digest() != body_hash:
            self.bad(event, "its body does not fit its hash")
        facts = [event[name] for name in ("partition", "stream", "version", "kind", "at", "actor")]
        header = json.dumps(facts, separators=(",", ":"), ensure_ascii=False).encode()
        if sha256(b"clew/1" + before + header + body_hash).digest() != hashed:
            self.bad(event, "its hash does not follow from the event before it")
        if event["version"] != version + 1:
            self.bad(event, f"version {version + 1} should be here")
        if self.thread is not None and event["stream"] != self.thread:
            self.bad(event, "it is of another thread")
        heads[event["stream"]] = event["version"], hashed

    def grow(self, event: Line) -> None:
        """The tree of RFC 6962 over all events, and its root where a checkpoint tells one."""
        found, size = sha256(b"\0" + decoded(event["hash"])).digest(), self.size
        while size & 1:
            found = node(self.peaks.pop(), found)
            size >>= 1
        self.peaks.append(found)
        self.size += 1
        if self.size in [one.size for one in (self.note, self.held) if one]:
            root = self.peaks[-1]
            for peak in self.peaks[-2::-1]:
                root = node(peak, root)
            self.roots[self.size] = root

    def check_inclusion(self, event: Line) -> None:
        if self.note is None or event["position"] > self.note.size:
            self.newer += 1
            return
        place, last = event["position"] - 1, self.note.size - 1
        found = sha256(b"\0" + decoded(event["hash"])).digest()
        for step in map(decoded, event.get("proof") or []):
            if last <= 0 or place < 0:
                break
            if place & 1 or place == last:
                found = node(step, found)
                while place and not place & 1:
                    place, last = place >> 1, last >> 1
            else:
                found = node(found, step)
            place, last = place >> 1, last >> 1
        if event["position"] < 1 or last != 0 or found != self.note.root:
            self.bad(event, "it is not beneath the root that was signed")

    def check_roots(self) -> None:
        if self.thread is None:
            for what, note in (("the checkpoint of the export", self.note), ("the checkpoint given", self.held)):
                if note is None:
                    continue
                if note.size > self.size:
                    self.faults.append(f"{what} is of {note.size} events; after {self.size} they are missing")
                elif self.roots.get(note.size) != note.root:
                    self.faults.append(f"{what} says that the first {note.size} events were others")
            self.newer = self.size - (self.note.size if self.note else 0)
        elif self.held is not None:
            self.check_extension(self.held)

    def check_extension(self, held: Note) -> None:
        told = self.header.get("extends") or {}
        if self.note is None or (told.get("size") != held.size and held.root != self.note.root):
            self.faults.append("the export does not say how it extends the checkpoint given; make it with that one")
        elif not extends(held, self.note, [decoded(step) for step in told.get("proof", [])]):
            self.faults.append(f"the log does not extend the checkpoint given, of {held.size} events")

    def tell(self) -> None:
        what = "the whole log" if self.thread is None else f"thread {self.thread}"
        self.told.append(f"{self.events} events of {what}; {self.erased} of them were erased, their hashes are kept")
        if self.note is not None:
            self.told.append(f"the checkpoint of {self.note.size} events of {self.note.origin}, by the key {self.key}")
        if self.held is not None and not self.faults:
            self.told.append(f"it extends the checkpoint of {self.held.size} events that was given")
        if self.thread is not None:
            self.told.append("that nothing is missing at its end, only an export of the whole log can show")
        if self.newer > 0:
            self.told.append(f"{self.newer} events are newer than that, and are held together by their chains only")


def node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()


def decoded(value: str) -> bytes:
    return base64.b64decode(value, validate=True)


def extends(old: Note, new: Note, proof: list[bytes]) -> bool:
    """RFC 9162, 2.1.4.2."""
    if old.size in (0, new.size):
        return not proof and (old.size == 0 or old.root == new.root)
    steps = proof if old.size & (old.size - 1) else [old.root, *proof]
    if old.size > new.size or not steps:
        return False
    place, last = old.size - 1, new.size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    was = found = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            was, found = node(step, was), node(step, found)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            found = node(found, step)
        place, last = place >> 1, last >> 1
    return last == 0 and was == old.root and found == new.root


if __name__ == "__main__":
    sys.exit(main())
