"""Settings: from the environment and from flags, checked once, at start."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from clew.errors import Misconfigured

OPENAI_URL = "https://api.openai.com/v1"
_DEFAULT_BASE_URLS = {
    "openai": OPENAI_URL,
    "anthropic": "https://api.anthropic.com",
    "mistral": "https://api.mistral.ai",
}
PROVIDER_NAMES = tuple(_DEFAULT_BASE_URLS)
LOG_LEVELS = ("debug", "info", "warning", "error")


def key_setting(provider: str) -> str:
    return f"CLEW_{provider.upper()}_API_KEY"


def url_setting(provider: str) -> str:
    return f"CLEW_{provider.upper()}_BASE_URL"


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """`api_key` is never shown."""

    base_url: str
    api_key: str | None = field(default=None, repr=False)

    def lacks_key(self, name: str) -> bool:
        """Whether calls would only be refused: the provider's own servers want a key. Another server may want none."""
        return self.api_key is None and urlsplit(self.base_url).hostname == urlsplit(_DEFAULT_BASE_URLS[name]).hostname


@dataclass(frozen=True, slots=True)
class Settings:
    """`run_expires_seconds` None means that runs never expire. `api_key`, when set, must come with each request.

    `works`: this process drives runs. A run whose worker was not heard of for `lease_seconds` goes to another; a
    worker that is told to end has `grace_seconds` to finish what it has begun. `signing_key` is the file of the key
    that signs checkpoints; None: it is beside the store's file, or in the user's data folder. `prices` is the file of
    the operator's own prices, which come before those of the price table. `truncation` is the strategy of runs for
    which nobody says one, as people write it. `log_level` is the least important that a server or worker logs.
    """

    store: str
    host: str = "127.0.0.1"
    port: int = 8787
    api_key: str | None = field(default=None, repr=False)
    providers: dict[str, ProviderSettings] = field(default_factory=dict)
    default_provider: str = "openai"
    script: Path | None = None
    tools: tuple[str, ...] = ()
    run_expires_seconds: int | None = 600
    works: bool = True
    lease_seconds: float = 30.0
    grace_seconds: float = 10.0
    model_attempts_max: int = 6
    steps_max: int = 128
    context_tokens: int | None = None
    truncation: str | None = None
    signing_key: Path | None = None
    prices: Path | None = None
    log_level: str = "info"


def default_store() -> str:
    """A file in the user's data folder."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share"
    return str(Path(base) / "clew" / "clew.db")


def from_environment(**flags: object) -> Settings:
    """`flags` that are None were not given; the environment, then the default, decides."""
    given = {name: value for name, value in flags.items() if value is not None}
    env = os.environ
    default_provider = given.get("default_provider") or env.get("CLEW_DEFAULT_PROVIDER") or "openai"
    values: dict[str, object] = {
        "store": env.get("CLEW_STORE") or default_store(),
        "port": _whole_number("CLEW_PORT", 8787),
        "api_key": env.get("CLEW_API_KEY") or None,
        "providers": {name: _provider(name) for name in PROVIDER_NAMES if name == default_provider or _wanted(name)},
        "default_provider": default_provider,
        "run_expires_seconds": _whole_number("CLEW_RUN_EXPIRES_SECONDS", 600) or None,
        "context_tokens": _whole_number("CLEW_CONTEXT_TOKENS", 0) or None,
        "truncation": env.get("CLEW_TRUNCATION") or None,
        "signing_key": _path("CLEW_SIGNING_KEY_FILE"),
        "prices": _path("CLEW_PRICES"),
        "log_level": (env.get("CLEW_LOG_LEVEL") or "info").lower(),
        **given,
    }
    return _checked(Settings(**values))  # type: ignore[arg-type]


def _wanted(name: str) -> bool:
    """OpenAI always. Of the others those that anything is set for."""
    settings = (url_setting(name), key_setting(name), f"{name.upper()}_API_KEY")
    return name == "openai" or any(os.environ.get(setting) for setting in settings)


def _provider(name: str) -> ProviderSettings:
    base_url = os.environ.get(url_setting(name)) or _DEFAULT_BASE_URLS[name]
    if not base_url.startswith(("http://", "https://")):
        raise Misconfigured(f"{url_setting(name)} is {base_url!r}; write it with http:// or https://")
    try:
        urlsplit(base_url)
    except ValueError as error:
        raise Misconfigured(f"{url_setting(name)} is not a URL: {error}") from error
    key = os.environ.get(key_setting(name)) or os.environ.get(f"{name.upper()}_API_KEY") or None
    return ProviderSettings(base_url.rstrip("/"), key)


def _path(name: str) -> Path | None:
    value = os.environ.get(name)
    return Path(value) if value else None


def _whole_number(name: str, default: int) -> int:
    value = os.environ.get(name)
    if not value:
        return default
    try:
        return int(value)
    except ValueError:
        raise Misconfigured(f"{name} is {value!r}; write a whole number") from None


def _checked(settings: Settings) -> Settings:
    if not 0 <= settings.port <= 65_535:
        raise Misconfigured(f"port {settings.port} does not exist; take one from 1 to 65535, or 0 for any free one")
    if not settings.host.strip():
        raise Misconfigured("--host is empty; name an address to listen on, such as 127.0.0.1")
    if settings.host not in ("127.0.0.1", "localhost", "::1") and settings.api_key is None:
        raise Misconfigured(
            f"serving on {settings.host} lets others in: set CLEW_API_KEY, or leave --host at 127.0.0.1"
        )
    if settings.run_expires_seconds is not None and settings.run_expires_seconds < 1:
        raise Misconfigured("CLEW_RUN_EXPIRES_SECONDS is below 1; write 0 for never")
    for name, seconds in (("--lease-seconds", settings.lease_seconds), ("--grace-seconds", settings.grace_seconds)):
        if not math.isfinite(seconds):
            raise Misconfigured(f"{name} is {seconds:g}; write a number of seconds")
    if settings.lease_seconds < 1:
        raise Misconfigured(f"--lease-seconds {settings.lease_seconds:g} is below 1; a worker could not renew in time")
    if settings.grace_seconds < 0:
        raise Misconfigured(f"--grace-seconds {settings.grace_seconds:g} is below 0; write 0 to let go at once")
    if settings.log_level not in LOG_LEVELS:
        raise Misconfigured(f"the log level {settings.log_level!r} is none of {', '.join(LOG_LEVELS)}")
    return settings
