"""The key that signs checkpoints: where it lives, and making one at first use. It is never in the log, never shown."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from clew.errors import Misconfigured
from clew.log import is_postgres
from clew.proof.checkpoint import Signer
from clew.settings import default_store

logger = logging.getLogger(__name__)


def key_path(store: str, given: Path | None) -> Path | None:
    """The file: the one that was given, else beside the store's, else in the user's data folder; None in memory."""
    if given is not None:
        return given.expanduser()
    if is_postgres(store):
        return Path(default_store()).with_name("signing.key")
    if store == ":memory:":
        return None
    path = Path(store.removeprefix("sqlite:///")).expanduser()
    return path.with_name(path.name + ".key")


def signer_of(store: str, given: Path | None) -> Signer | None:
    """The key of this process, made if there is none yet; None where it may not be kept, and nobody insisted."""
    path = key_path(store, given)
    if path is None:
        return Signer(Ed25519PrivateKey.generate())
    try:
        return Signer(_read(path) if path.exists() else _make(path))
    except OSError as error:
        if given is not None:
            raise Misconfigured(f"CLEW_SIGNING_KEY_FILE: {path}: {error.strerror}") from error
        logger.warning("no checkpoints are signed: %s: %s; set CLEW_SIGNING_KEY_FILE", path, error.strerror)
        return None


def known_signer(store: str, given: Path | None) -> Signer | None:
    """The key that this store's checkpoints should be signed with, if we may read it. Nothing is made.

    The one in the data folder does not count: it may be for another database.
    """
    path = key_path(store, given) if given is not None or not is_postgres(store) else None
    if path is None or not os.access(path, os.R_OK):
        return None
    return Signer(_read(path))


def _read(path: Path) -> Ed25519PrivateKey:
    if path.is_dir():
        raise Misconfigured(f"{path} is a folder; name a file for the key that signs checkpoints")
    if path.stat().st_mode & 0o007:
        raise Misconfigured(f"{path} signs checkpoints and everybody may use it; `chmod 600 {path}`")
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Misconfigured(f"{path} holds no key; `openssl genpkey -algorithm ed25519` makes one") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Misconfigured(f"{path} holds a key that is not Ed25519; `openssl genpkey -algorithm ed25519` makes one")
    return key


def _make(path: Path) -> Ed25519PrivateKey:
    """Whole or not at all; of two processes that make one, both go on with the one that was there first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(file, "wb") as out:
            out.write(made)
            out.flush()
            os.fsync(out.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    return _read(path)
