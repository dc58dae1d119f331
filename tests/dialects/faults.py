"""Reading errors off the wire."""

from __future__ import annotations

import httpx2

# The random part of an id that nothing has.
GONE = "06Z8ixdFfoDgvSh1Rx32mrga"


def fault(response: httpx2.Response) -> tuple[int, str, str | None, str | None]:
    """Status, message, param, code, of a body that has all four keys and no other."""
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert response.headers["x-request-id"].startswith("req_")
    return response.status_code, error["message"], error["param"], error["code"]
