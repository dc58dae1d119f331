"""A draft: what a batch of appends comes to where the log ends, before it is sent to the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clew.errors import Conflict, KeyReused
from clew.events.base import Event, Recorded
from clew.log.chain import Row, Sealer
from clew.log.store import First
from clew.log.tasks import Append, FirstOutcome, Outcome


class Draft:
    """Outcomes in the order of the appends; rows and events of those that are not refused; keys seen for the first
    time. Everything comes from `sealer`, which goes on to where the log will end.

    `kept` are the outcomes of appends, by identity, that an earlier attempt brought into the store. `firsts` is what
    the keys stand for, and learns those of this batch.
    """

    def __init__(self, sealer: Sealer, firsts: dict[str, First], kept: Mapping[int, list[Recorded[Event]]]) -> None:
        self._sealer = sealer
        self._kept = kept
        self.firsts = firsts
        self.at = sealer.at
        self.outcomes: list[Outcome | BaseException] = []
        self.rows: list[Row] = []
        self.recorded: list[Recorded[Event]] = []
        self.new_keys: list[str] = []

    def take(self, appends: Sequence[Append]) -> None:
        """The ends of their streams are learnt before."""
        if self._kept:
            self.outcomes += [self._kept.get(id(append)) or self._outcome(append) for append in appends]
        else:
            self.outcomes += map(self._outcome, appends)

    def _outcome(self, append: Append) -> Outcome | BaseException:
        key, stream, after = append.key, append.stream, append.after
        if key is not None and (first := self.firsts.get(key)) is not None:
            if first.fingerprint != append.fingerprint:
                return KeyReused(key=key)
            return FirstOutcome(first.stream, first.first_version, first.last_version)
        head = self._sealer.head(stream)
        assert head is not None, "the heads of a batch are learnt first"
        if head.version != after:
            return Conflict(stream=stream, expected=after, found=head.version)
        placed = self._sealer.seal(stream, head, append.actor, append.events, self.rows)
        self.recorded += placed
        if key is not None:
            # Also for another append of this batch under the same key.
            self.firsts[key] = First(append.fingerprint, stream, after + 1, after + len(placed))
            self.new_keys.append(key)
        return placed
