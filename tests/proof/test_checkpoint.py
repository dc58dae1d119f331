"""Checkpoints are C2SP notes: known ones are read and verified, ours are what others would read."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clew.errors import Misconfigured
from clew.proof.checkpoint import Checkpoint, Signer, VerifierKey, parse_key, parse_note

# The Go checksum database's key, and the example that its package of notes is documented with.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = """\
If you think cryptography is the answer to your problem,
then you don't know what your problem is.

— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
"""
# The example of the specification.
EXAMPLE = """\
example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9n\
To+zyWE+xeMcTOAYQ8=
"""

SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
CHECKPOINT = Checkpoint("clew/abc", 7, bytes(32))


def test_a_key_is_written_as_go_writes_it() -> None:
    key = parse_key(GO_KEY)
    assert key.name == "PeterNeumann"
    assert str(key) == GO_KEY


def test_a_signature_made_elsewhere_verifies() -> None:
    text, _, signature = GO_NOTE.rpartition("\n\n")
    raw = base64.b64decode(signature.split(" ")[2])
    key = parse_key(GO_KEY)
    assert raw[:4] == key.id
    assert key._fits(raw[4:], text + "\n")


def test_the_example_of_the_specification_is_read() -> None:
    note = parse_note(EXAMPLE)
    assert note.checkpoint.origin == "example.com/behind-the-sofa"
    assert note.checkpoint.size == 20_852_163
    assert note.checkpoint.text == note.text
    assert [name for name, _, _ in note.signatures] == ["example.com/behind-the-sofa"]


def test_what_is_signed_verifies_with_its_key_and_no_other() -> None:
    note = parse_note(SIGNER.sign(CHECKPOINT))
    assert note.checkpoint == CHECKPOINT
    assert SIGNER.verifier("clew/abc").signed(note)
    assert not SIGNER.verifier("clew/another").signed(note)
    assert not VerifierKey("clew/abc", parse_key(GO_KEY).public).signed(note)


def test_a_changed_checkpoint_does_not_verify() -> None:
    written = SIGNER.sign(CHECKPOINT)
    key = SIGNER.verifier("clew/abc")
    assert not key.signed(parse_note(written.replace("\n7\n", "\n8\n")))
    assert not key.signed(parse_note(written.replace("AAAA", "BAAA", 1)))


def test_signatures_of_others_are_passed_over() -> None:
    written = SIGNER.sign(CHECKPOINT) + EXAMPLE.splitlines()[-1] + "\n"
    assert SIGNER.verifier("clew/abc").signed(parse_note(written))


def test_the_key_is_not_shown() -> None:
    assert "private" not in repr(SIGNER).lower()


@pytest.mark.parametrize(
    "written",
    [
        "",
        "nothing",
        EXAMPLE.replace("20852163", "020852163"),
        EXAMPLE.replace("20852163", "many"),
        EXAMPLE.replace("CsUYapGG", "CsUY"),
        EXAMPLE.replace("CsUYapGG", "!!!!apGG"),
        EXAMPLE.replace("— ", "- "),
        EXAMPLE.replace("\n\n", "\n"),
        EXAMPLE.replace("sofa Az3g", "sofa !z3g"),
        "x" * 200_000,
        b"\xff\xfe",
    ],
)
def test_what_is_no_checkpoint_is_refused(written: str | bytes) -> None:
    with pytest.raises(Misconfigured, match="no checkpoint"):
        parse_note(written)


@pytest.mark.parametrize("written", ["", "a+b", GO_KEY.replace("c74f", "c74e"), GO_KEY.replace("ARpc", "Arpc")])
def test_what_is_no_key_is_refused(written: str) -> None:
    with pytest.raises(Misconfigured, match="no verifier key"):
        parse_key(written)
