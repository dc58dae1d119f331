"""What the APIs have besides and this server does not have: each is refused as the README says, whatever is sent."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import httpx2
import pytest
from mistralai.client import Mistral
from mistralai.client.errors import SDKError
from openai import BadRequestError, OpenAI

from tests.dialects.anthropic.conftest import sdk
from tests.dialects.conftest import Server
from tests.dialects.faults import fault

# More than any body that is read.
LARGE = b"x" * 5_000_000


@pytest.fixture
def plain(server: Server) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, timeout=20) as client:
        yield client


def told(what: str) -> tuple[int, str, str | None, str | None]:
    return 400, f"This server does not offer {what} yet.", None, "unsupported_value"


def test_openais_sdk_hears_that_there_are_no_files_and_no_stores(client: OpenAI) -> None:
    asked: tuple[tuple[str, Callable[[], Any]], ...] = (
        ("files", lambda: client.files.create(file=("a.txt", LARGE), purpose="assistants")),
        ("files", lambda: client.files.list()),
        ("files", lambda: client.files.retrieve("file-abc")),
        ("files", lambda: client.files.content("file-abc")),
        ("files", lambda: client.files.delete("file-abc")),
        ("uploads", lambda: client.uploads.create(bytes=1, filename="a", mime_type="text/plain", purpose="assistants")),
        ("uploads", lambda: client.uploads.parts.create("upload_1", data=LARGE)),
        ("vector stores", lambda: client.vector_stores.create(name="Notes", file_ids=["file-abc"])),
        ("vector stores", lambda: client.vector_stores.list()),
        ("vector stores", lambda: client.vector_stores.search("vs_1", query="Notes")),
        ("vector stores", lambda: client.vector_stores.files.create("vs_1", file_id="file-abc")),
        ("vector stores", lambda: client.vector_stores.file_batches.create("vs_1", file_ids=["file-abc"])),
        ("vector stores", lambda: client.vector_stores.delete("vs_1")),
    )
    for what, ask in asked:
        with pytest.raises(BadRequestError) as raised:
            ask()
        assert raised.value.code == "unsupported_value"
        assert raised.value.type == "invalid_request_error"
        assert f"This server does not offer {what} yet." in str(raised.value)
        assert raised.value.request_id is not None


@pytest.mark.parametrize("mount", ["/v1", "/openai/v1", "/at/0/v1", "/at/2026-01-01T00:00:00Z/openai/v1"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/files", "files"),
        ("/files/", "files"),
        ("/files/file-abc/content", "files"),
        ("/vector_stores", "vector stores"),
        ("/vector_stores/vs_1/files/file-abc/content", "vector stores"),
        ("/vector_stores/vs_1/file_batches/vsfb_1/cancel", "vector stores"),
        ("/uploads/upload_1/complete", "uploads"),
    ],
)
def test_every_method_and_every_path_below(plain: httpx2.Client, mount: str, method: str, path: str, what: str) -> None:
    assert fault(plain.request(method, mount + path)) == told(what)


def test_what_is_only_called_alike_is_an_unknown_url(http: httpx2.Client) -> None:
    for path in ("/filesystem", "/file", "/threads/files/x", "/vector_stores2", "/containers"):
        assert fault(http.get(path)) == (404, f"Invalid URL (GET /openai/v1{path})", None, None)


def in_pieces() -> Iterator[bytes]:
    for _ in range(50):
        yield b"x" * 100_000


@pytest.mark.parametrize("path", ["/v1/files", "/v1/uploads/upload_1/parts", "/at/0/openai/v1/files"])
def test_whoever_uploads_much_gets_the_answer_and_can_go_on(plain: httpx2.Client, path: str) -> None:
    for _ in range(3):
        assert plain.post(path, content=in_pieces()).status_code == 400
        assert plain.post(path, files={"file": ("a.txt", LARGE)}).status_code == 400
        assert plain.get("/v1/threads").status_code == 200


def test_a_wrong_key_is_told_before_what_is_not_offered(tmp_path: Any) -> None:
    with Server(tmp_path / "keys.db", api_key="sk-right") as server, httpx2.Client(base_url=server.base_url) as http:
        assert http.post("/files", files={"file": ("a.txt", LARGE)}).status_code == 401
        right = {"authorization": "Bearer sk-right"}
        assert fault(http.post("/files", files={"file": ("a.txt", LARGE)}, headers=right)) == told("files")


def test_anthropics_sdk_hears_that_there_are_no_files_and_no_batches(server: Server) -> None:
    with sdk(server) as client:
        asked: tuple[Callable[[], Any], ...] = (
            lambda: client.beta.files.upload(file=("a.txt", LARGE)),
            lambda: client.beta.files.list(),
            lambda: client.beta.files.download("file_1"),
            lambda: client.messages.batches.list(),
        )
        for ask in asked:
            with pytest.raises(anthropic.NotFoundError, match="is not offered by this server"):
                ask()


def test_mistrals_sdk_hears_that_there_are_no_files_and_no_libraries(server: Server) -> None:
    with Mistral(api_key="k", server_url=server.mistral_url, timeout_ms=20_000) as client, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        asked: tuple[Callable[[], Any], ...] = (
            lambda: client.files.upload(file={"file_name": "a.txt", "content": LARGE}),
            lambda: client.files.list(),
            lambda: client.beta.libraries.create(name="Notes"),
            lambda: client.beta.libraries.list(),
        )
        for ask in asked:
            with pytest.raises(SDKError, match="Conversations and agents are what this server has") as raised:
                ask()
            assert raised.value.status_code == 404
