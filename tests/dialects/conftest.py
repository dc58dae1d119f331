"""A server of its own for each test module: uvicorn in a thread, the engine started in that thread's loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import uvicorn
from openai import OpenAI

import clew
from clew.engine.tools import Toolbox
from clew.providers.base import Provider
from clew.server.app import make_app
from clew.settings import Settings
from clew.wiring import make_engine
from tests.dialects.fakes import Fake
from tests.rigs.postgres import Databases


@clew.tool(effect="pure")
def look_up(word: str) -> str:
    """A tool that the server executes."""
    return f"{word} means something"


@clew.tool(effect="once", requires_confirmation=True)
def pay(amount: int) -> str:
    """A tool that the server executes when somebody allows it."""
    return f"paid {amount}"


class Server:
    """`base_url` is OpenAI's mount, `mistral_url` the other's. `provider` is what the runs talk to.

    `also_called` are names that it goes by beside its own. With `providers` it talks to those instead.
    """

    def __init__(
        self,
        store: Path | str,
        also_called: tuple[str, ...] = (),
        providers: Mapping[str, Provider] | None = None,
        **settings: Any,
    ) -> None:
        self.provider = Fake()
        self._providers = dict(providers or dict.fromkeys(("fake", *also_called), self.provider))
        chosen = {"default_provider": next(iter(self._providers)), **settings}
        self._settings = Settings(store=str(store), **chosen)
        self._ready = threading.Event()
        self._server: uvicorn.Server | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self.engine = make_engine(self._settings, providers=self._providers, toolbox=Toolbox([look_up, pay]))
        config = uvicorn.Config(
            make_app(self.engine), port=0, log_level="warning", lifespan="on", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._ready.set()
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            self.loop = runner.get_loop()
            runner.run(self._server.serve())

    def start(self) -> Server:
        self._thread.start()
        self._ready.wait(10)
        deadline = time.monotonic() + 10
        while self._server is None or not self._server.started:
            assert time.monotonic() < deadline, "the server does not start"
            assert self._thread.is_alive(), "the server died"
            time.sleep(0.005)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.base_url = f"{self.url}/openai/v1"
        self.mistral_url = f"{self.url}/mistral"
        return self

    def stop(self) -> None:
        assert self._server is not None
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive(), "the server does not stop"

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if request.param == "sqlite":
        with Server(tmp_path_factory.mktemp("store") / "clew.db") as running:
            yield running
        return
    postgres: Databases = request.getfixturevalue("postgres")
    name = f"test_{uuid4().hex}"
    with Server(postgres.create_database(name, request.getfixturevalue("postgres_template"))) as running:
        yield running
    postgres.drop_database(name)


@pytest.fixture
def http(server: Server) -> Iterator[httpx2.Client]:
    """Requests that no SDK would send."""
    with httpx2.Client(base_url=server.base_url, timeout=10) as client:
        yield client


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    """The official SDK, checking every answer against its own models."""
    with OpenAI(base_url=server.base_url, api_key="x", max_retries=0, _strict_response_validation=True) as strict:
        yield strict


@pytest.fixture
def thread_id(http: httpx2.Client) -> str:
    return str(http.post("/threads", json={"messages": [{"role": "user", "content": "Hi"}]}).json()["id"])


@pytest.fixture
def assistant_id(http: httpx2.Client) -> str:
    return str(http.post("/assistants", json={"model": "weather"}).json()["id"])
