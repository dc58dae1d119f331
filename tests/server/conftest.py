"""The server that the dialects are tested with has Clew's own API, too."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from tests.dialects.conftest import Server, server

__all__ = ["server"]


@pytest.fixture
def native(server: Server) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.base_url.replace("/openai/v1", "/clew/v1"), timeout=10) as client:
        yield client


@pytest.fixture
def openai(server: Server) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.base_url, timeout=10) as client:
        yield client
