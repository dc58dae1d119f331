"""The style is a test: what STYLE promises about the repository's own text is checked here."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import clew.events
import clew_projections
from clew.events.base import Event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
SOURCES = {"src", "projections", "tests", "benchmarks"}
TOP_LEVEL = SOURCES | {"pyproject.toml", "README.md", "LICENSE"}
TOP_LEVEL_OF_AN_SDIST = {"PKG-INFO"}

FUNCTION_LINES_MAX = 60  # A screen.
FILE_LINES_MAX = 400  # A sitting.

LOCK_FILE = re.compile(r".*\.lock|package-lock\.json|pnpm-lock\.yaml|npm-shrinkwrap\.json")
REGISTRY = re.compile(r"\bpypi\.org|\bpythonhosted\.org|\bnpmjs\.(?:org|com)")
MACHINE_PATH = re.compile(r"(?<![\w.~%*-])/(?:work|root|home)/")


def test_the_top_level_holds_only_what_everybody_knows() -> None:
    found = {path.parts[0] for path in repository_files()}
    strangers = sorted(name for name in found - TOP_LEVEL if not name.startswith("."))
    assert not strangers, f"these belong further down: {', '.join(strangers)}"


def test_there_are_no_lock_files() -> None:
    none_of(f"{path}:1: a lock file" for path in repository_files() if LOCK_FILE.fullmatch(path.name))


def test_no_package_registry_is_named() -> None:
    none_of(f"{place}: names a package registry: {text}" for place, text in lines_with(REGISTRY))


def test_no_path_of_somebodys_machine_is_written_down() -> None:
    none_of(f"{place}: an absolute path of one machine: {text}" for place, text in lines_with(MACHINE_PATH))


def test_every_file_says_what_it_is_for() -> None:
    none_of(f"{path}:1: no module docstring" for path, tree in modules() if not ast.get_docstring(tree))


def test_no_file_is_longer_than_a_sitting() -> None:
    lengths = {path: len((ROOT / path).read_text().splitlines()) for path, _ in modules()}
    none_of(
        f"{path}:{FILE_LINES_MAX + 1}: the file has {lines} lines, at most {FILE_LINES_MAX} are allowed"
        for path, lines in lengths.items()
        if lines > FILE_LINES_MAX
    )


def test_no_function_is_longer_than_a_screen() -> None:
    none_of(
        f"{path}:{node.lineno}: {node.name} has {lines} lines, at most {FUNCTION_LINES_MAX} are allowed"
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    )


def test_no_error_is_swallowed() -> None:
    none_of(
        f"{path}:{node.lineno}: {fault}"
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        if (fault := fault_of(node))
    )


def test_every_event_is_in_the_union_of_its_file() -> None:
    none_of(
        f"{line_of(event)}: {event.__name__} is not in {union_name}"
        for module in submodules(clew.events)
        if (events := events_defined_in(module))
        for union_name, members in [union_of(module, events)]
        for event in events
        if event not in members
    )


def test_every_projection_file_has_a_projection() -> None:
    none_of(
        f"{place_of(module)}:1: neither `projection` nor `projections` is defined here"
        for module in submodules(clew_projections)
        if not module.__name__.rpartition(".")[2].startswith("_")
        if not hasattr(module, "projection") and not hasattr(module, "projections")
    )


def none_of(faults: Iterator[str]) -> None:
    found = list(faults)
    assert not found, "\n" + "\n".join(found)


@cache
def repository_files() -> list[Path]:
    """What is, or would be, committed. Without git (in an unpacked sdist, say) whatever lies here."""
    return sorted(path for path in listed_by_git() or lying_here() if (ROOT / path).is_file())


def listed_by_git() -> set[Path]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return set()
    return {Path(name) for name in listed.split("\0") if name}


def lying_here() -> set[Path]:
    paths = {path.relative_to(ROOT) for path in ROOT.rglob("*")}
    return {path for path in paths if not is_made(path) and path.name not in TOP_LEVEL_OF_AN_SDIST}


def is_made(path: Path) -> bool:
    """Made by a tool rather than by a person."""
    return path.parts[0].startswith(".") or "__pycache__" in path.parts


@cache
def modules() -> list[tuple[Path, ast.Module]]:
    return [
        (path, ast.parse((ROOT / path).read_text(), filename=str(path)))
        for path in repository_files()
        if path.suffix == ".py" and path.parts[0] in SOURCES
    ]


def lines_with(pattern: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    for path in repository_files():
        content = (ROOT / path).read_bytes()
        if b"\0" in content:
            continue
        for number, line in enumerate(content.decode(errors="replace").splitlines(), start=1):
            if pattern.search(line):
                yield f"{path}:{number}", line.strip()[:100]


def fault_of(handler: ast.ExceptHandler) -> str | None:
    if handler.type is None:
        return "a bare `except:`; name what can go wrong"
    caught = {ast.unparse(name) for name in getattr(handler.type, "elts", [handler.type])}
    if caught & {"Exception", "BaseException"} and all(map(does_nothing, handler.body)):
        return "whatever goes wrong here, nobody will hear of it"
    return None


def does_nothing(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Pass | ast.Continue) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def submodules(package: ModuleType) -> list[ModuleType]:
    found = pkgutil.iter_modules(package.__path__, prefix=f"{package.__name__}.")
    return [importlib.import_module(module.name) for module in found]


def events_defined_in(module: ModuleType) -> list[type[Event]]:
    """Events that can be recorded; a class that only shares fields has no kind."""
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Event)
        if value.__module__ == module.__name__ and "kind" in vars(value)
    ]


def union_of(module: ModuleType, events: list[type[Event]]) -> tuple[str, set[Any]]:
    """The alias called `…Event` that lists the most of these events."""
    aliases: dict[str, set[Any]] = {"any union called …Event": set()}
    for name, value in vars(module).items():
        if name.endswith("Event") and value is not Event:
            aliases[name] = members_of(value)
    return max(aliases.items(), key=lambda alias: len(alias[1].intersection(events)))


def members_of(alias: Any) -> set[Any]:
    """The classes in a union, also an annotated or nested one. A class is a union of one."""
    parts = get_args(alias)
    if hasattr(alias, "__metadata__"):
        parts = parts[:1]
    return {member for part in parts for member in members_of(part)} or {alias}


def line_of(event: type[Event]) -> str:
    return f"{place_of(inspect.getmodule(event))}:{inspect.getsourcelines(event)[1]}"


def place_of(module: ModuleType | None) -> str:
    file = Path(getattr(module, "__file__", None) or "?")
    return str(file.relative_to(ROOT) if file.is_relative_to(ROOT) else file)
