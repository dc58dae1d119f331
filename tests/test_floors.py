"""Who may import whom. The contracts stand in pyproject.toml; no module may be left out of them."""

from __future__ import annotations

import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import clew

if TYPE_CHECKING:
    from collections.abc import Iterator

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def test_everyone_imports_only_what_they_may() -> None:
    """In a process of its own, as it disables every logger that it finds."""
    linter = Path(sys.executable).with_name("lint-imports")
    looked = subprocess.run(
        [linter, "--config", PYPROJECT, "--no-cache", "--no-logo"], capture_output=True, text=True, check=False
    )
    if looked.returncode:
        pytest.fail(looked.stdout + looked.stderr, pytrace=False)


def test_every_module_has_a_floor() -> None:
    homeless = sorted(set(top_level_modules()) - floors())
    assert not homeless, f"give these a floor in pyproject.toml: {', '.join(homeless)}"


def top_level_modules() -> Iterator[str]:
    for module in pkgutil.iter_modules(clew.__path__):
        yield f"clew.{module.name}"


def floors() -> set[str]:
    contracts = tomllib.loads(PYPROJECT.read_text())["tool"]["importlinter"]["contracts"]
    [layers] = [contract["layers"] for contract in contracts if contract["id"] == "floors"]
    return {name for layer in layers for name in re.findall(r"[\w.]+", layer)}
