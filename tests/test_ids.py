"""Identifiers: one identity may go by the prefix of each dialect."""

from __future__ import annotations

from clew.ids import has_prefix, new_id, reprefixed


def test_an_identity_keeps_its_letters_under_another_prefix() -> None:
    thread_id = new_id("thread")
    conversation_id = reprefixed(thread_id, "conv")
    assert has_prefix(conversation_id, "conv")
    assert reprefixed(conversation_id, "thread") == thread_id
