"""The server's end of a connection. What comes over it and is no HTTP is told in the log, and who sent it."""

from __future__ import annotations

import logging

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

logger = logging.getLogger(__name__)

_UVICORN_SAYS = "Invalid HTTP request received."


class Connection(HttpToolsProtocol):
    def send_400_response(self, msg: str) -> None:
        logger.warning("no HTTP request came from %s; it is answered with 400", self._peer())
        super().send_400_response(msg)

    def _unsupported_upgrade_warning(self) -> None:
        logger.warning("%s asked for another protocol than HTTP/1.1, which there is not", self._peer())

    def _peer(self) -> str:
        if self.client is None:
            return "?"
        address, port = self.client
        return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def tell_peers() -> None:
    """Of what is told with its peer here uvicorn need not tell without."""
    logging.getLogger("uvicorn.error").addFilter(_not_told_here)


def _not_told_here(record: logging.LogRecord) -> bool:
    return record.msg != _UVICORN_SAYS
