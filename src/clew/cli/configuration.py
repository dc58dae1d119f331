"""What `clew serve` and `clew work` say of their settings when they start: which providers they call, never a key."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from clew.cli.common import console, safe
from clew.settings import PROVIDER_NAMES, ProviderSettings, Settings, key_setting


def print_configuration(settings: Settings) -> None:
    for line in _lines(settings):
        console.print(safe(line), soft_wrap=True)


def _lines(settings: Settings) -> Iterator[str]:
    for name in PROVIDER_NAMES:
        its = settings.providers.get(name)
        default = ", the default" if name == settings.default_provider else ""
        if its is None or its.lacks_key(name):
            yield f"  {name}: not configured, {key_setting(name)} is not set{default}"
        else:
            key = "with a key" if its.api_key is not None else "without a key"
            yield f"  {name}: {_address(its)}, {key}{default}"
    yield f"  scripted: needs no key{', the default' if settings.default_provider == 'scripted' else ''}"
    yield f"  log level: {settings.log_level}"


def _address(its: ProviderSettings) -> str:
    """The base URL without the user, password and query that may be in it."""
    parts = urlsplit(its.base_url)
    host = f"[{parts.hostname}]" if parts.hostname is not None and ":" in parts.hostname else parts.hostname
    port = f":{parts.port}" if parts.port is not None else ""
    return f"{parts.scheme}://{host}{port}{parts.path}"
