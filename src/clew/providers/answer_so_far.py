"""How far an answer has come, whatever its format: what was said, how it ended, and whether that was the end."""

from __future__ import annotations

from typing import Any

from clew.errors import ProviderFailed
from clew.providers.finish_reasons import FAILED, meaning_of, reason_in
from clew.providers.text import whole_text


class AnswerSoFar:
    """See `transport.Gathering` for what is public here. `who` is the provider's name."""

    def __init__(self, who: str, request_id: str | None) -> None:
        self._who = who
        self._request_id = request_id
        self._response_id: str | None = None
        self._model = ""
        self._reason: str | None = None
        self.said_anything = False
        self.ended = False
        self.doubtful = False
        self.over = False

    def _note_head(self, said: dict[str, Any]) -> None:
        """The id and the model; the first that are said hold."""
        if self._response_id is None and isinstance(said.get("id"), str):
            self._response_id = said["id"]
        if not self._model and isinstance(said.get("model"), str):
            self._model = said["model"]

    def _note_reason(self, value: Any) -> None:
        """A reason ends the answer, unless something is said after it: some servers send one with each chunk, or with
        the first."""
        reason = reason_in(value)
        if reason is not None:
            self._reason, self.ended = whole_text(reason), True

    def _goes_on(self) -> None:
        self.said_anything = True
        if self.ended:
            self.ended, self.doubtful = False, True

    def _finish_reason(self) -> str:
        """How it ended, in Clew's words. Raises `ProviderFailed`."""
        meaning = "stop" if self._reason is None else meaning_of(self._reason)
        if meaning == FAILED:
            message = f"{self._who} broke the answer off: it ended with {self._reason!r}"
            raise ProviderFailed(message, code="server_error", retryable=True)
        return meaning

    def _ended_in_a_call(self) -> ProviderFailed:
        message = f"{self._who} ended the answer in the middle of a tool call, and gave no reason"
        return ProviderFailed(message, code="broken_stream", retryable=True)

    def _provider_ids(self) -> dict[str, str]:
        ids = {"response": self._response_id, "request": self._request_id}
        return {name: whole_text(value) for name, value in ids.items() if value}
