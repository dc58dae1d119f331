"""Checkpoints: how large the tree is and what its root is, signed, as text that can be kept anywhere.

The format is C2SP's tlog-checkpoint, a signed note: three lines (origin, size, root), an empty one, and a signature
line. The origin is the name of the log, and of its key. Signatures are Ed25519.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from clew.errors import Misconfigured

_ED25519 = b"\1"
_KEY_ID_BYTES = 4
_NOTE_BYTES_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Checkpoint:
    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{_in_base64(self.root)}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A checkpoint with its signatures as they were read, not yet checked: who signed, key id, signature."""

    text: str
    checkpoint: Checkpoint
    signatures: tuple[tuple[str, bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """The public half, written as Go's sumdb writes it: name, key id in hexadecimal, algorithm and key in base64."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:_KEY_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{_in_base64(_ED25519 + self.public)}"

    def signed(self, note: Note) -> bool:
        """Whether this key signed `note`. Signatures of other keys are passed over, as the format asks for."""
        mine = [signature for name, key_id, signature in note.signatures if (name, key_id) == (self.name, self.id)]
        return bool(mine) and all(self._fits(signature, note.text) for signature in mine)

    def _fits(self, signature: bytes, text: str) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Signer:
    """The private half. It is never shown."""

    _private: Ed25519PrivateKey = field(repr=False)

    def verifier(self, name: str) -> VerifierKey:
        return VerifierKey(name, self._private.public_key().public_bytes_raw())

    def sign(self, checkpoint: Checkpoint) -> str:
        """The signed note."""
        key_id = self.verifier(checkpoint.origin).id
        signature = _in_base64(key_id + self._private.sign(checkpoint.text.encode()))
        return f"{checkpoint.text}\n— {checkpoint.origin} {signature}\n"


def parse_key(written: str) -> VerifierKey:
    try:
        name, key_id, encoded = written.strip().split("+", 2)
        key = base64.b64decode(encoded, validate=True)
        found = VerifierKey(name, key[1:])
        if key[:1] == _ED25519 and len(key) == 33 and found.id.hex() == key_id:
            return found
    except ValueError:
        pass  # Told below, in the same words as for a key whose id does not fit.
    raise Misconfigured("that is no verifier key; `clew checkpoint --key` prints the one of a log")


def parse_note(written: str | bytes) -> Note:
    """Raises `Misconfigured` when it is none."""
    try:
        return _parsed(written)
    except (ValueError, IndexError) as error:
        raise Misconfigured(f"that is no checkpoint ({error}); `clew checkpoint` prints one") from error


def _parsed(written: str | bytes) -> Note:
    if len(written) > _NOTE_BYTES_MAX:
        raise ValueError("it is too long")
    note = written.decode() if isinstance(written, bytes) else written
    text, parted, signed = note.rpartition("\n\n")
    if not parted or any(ord(letter) < 0x20 and letter != "\n" for letter in note):
        raise ValueError("it has no signatures")
    origin, size, root, *_ = text.split("\n")
    if not origin or not size.isascii() or not size.isdecimal() or str(int(size)) != size:
        raise ValueError("its second line is no size")
    checkpoint = Checkpoint(origin, int(size), base64.b64decode(root, validate=True))
    if len(checkpoint.root) != 32:
        raise ValueError("its third line is no root")
    return Note(text + "\n", checkpoint, tuple(_signature(line) for line in signed.splitlines()))


def _signature(line: str) -> tuple[str, bytes, bytes]:
    dash, name, encoded = line.split(" ")
    try:
        signature = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise ValueError("a signature is not base64") from error
    if dash != "—" or not name or len(signature) <= _KEY_ID_BYTES:
        raise ValueError("a signature line is malformed")
    return name, signature[:_KEY_ID_BYTES], signature[_KEY_ID_BYTES:]


def _in_base64(value: bytes) -> str:
    return base64.b64encode(value).decode()
