"""The floors of the building, held by a test: who may import whom, what no file may contain, how long a file may be.

A crossing fails here with the file and the line. The rules are those of docs/architecture.md.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "postroom"
MODULES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted(PACKAGE.rglob("*.js"))

FLOORS = {
    "doors": {"doors", "flow", "domain", "config", "errors", "points", "tasks", "bounded"},
    "flow": {"flow", "ledger", "gateway", "message", "domain", "errors", "points", "bounded"},
    "ledger": {"ledger", "domain", "errors", "points"},
    "gateway": {"gateway", "domain", "errors", "points"},
    "message": {"message", "domain", "errors"},
    "domain": {"domain"},
    "bounded": {"bounded", "errors"},
    "config": {"errors"},
    "errors": set[str](),
    "points": set[str](),
    "tasks": set[str](),
}
# Flow and ledger have the same wings, by capability: each may use those before it. The message's rooms are cut by the time at
# which they act; content.py lies below all of them.
CAPABILITIES = ("database", "account", "audience", "content", "check", "job", "preview", "delivery")
IN_ORDER = {wing: CAPABILITIES[:place] for place, wing in enumerate(CAPABILITIES)}
WINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "flow": IN_ORDER,
    "ledger": IN_ORDER,
    "message": {
        "wire": (), "markup": (), "liquid": ("wire", "markup"), "render": ("wire", "markup", "liquid"),
        "prepare": ("wire", "markup", "liquid"),
    },
}
# The one place at the doors that puts the parts together (pool, gateways, sandbox); every other door asks flow.
WIRING = "doors/wiring.py"
WIRED = {"ledger", "gateway", "message"}

FORBIDDEN_NAMES = {"utils", "common", "helpers", "services", "models", "manager", "core"}
# smtplib's own session hides the stage it died in, parseaddr takes what RFC 5322 forbids, requests is not async.
FORBIDDEN_IMPORTS = {"smtplib", "email.utils.parseaddr", "requests"}
LINES_MAX = 400

# Spelt in pieces, so that this file does not contain what it forbids.
REGISTRY_HOSTS = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("yarnpkg", "com"),
        ("deb", "debian", "org"),
        ("crates", "io"),
        ("proxy", "golang", "org"),
    )
]


def floor_of(path: Path) -> str:
    """`doors` for doors/web/pages.py, `errors` for errors.py, `` for the package's own __init__.py."""
    first = path.relative_to(PACKAGE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of each import of a module of ours."""
    return imports(path, ("postroom", *path.relative_to(PACKAGE).parent.parts))


def imports(path: Path, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of each import, relative ones made absolute, those inside functions and TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"


def named(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def dotted(path: Path) -> str:
    return ".".join(("postroom", *path.relative_to(PACKAGE).with_suffix("").parts))


def crossings(path: Path) -> list[str]:
    floor = floor_of(path)
    allowed = FLOORS.get(floor, set()) | (WIRED if named(path) == WIRING else set())
    found = []
    for line, name in imports_of(path):
        parts = name.split(".")
        if parts[0] == "postroom":
            target = parts[1] if len(parts) > 1 else ""
            # `from postroom import __version__` names no floor, and anybody may say which version this is.
            if target not in allowed and target != "__version__":
                found.append(f"{named(path)}:{line} imports {name}: {floor or 'the package'} may not import {target}")
        elif floor in {"domain", "errors"} and parts[0] not in sys.stdlib_module_names:
            found.append(f"{named(path)}:{line} imports {name}: {floor} has the standard library only")
    return found


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_no_module_imports_across_the_floors(path: Path) -> None:
    assert crossings(path) == []


def test_the_floors_are_all_there_is() -> None:
    assert {floor_of(path) for path in MODULES} - {""} <= set(FLOORS)


@pytest.mark.parametrize("floor", ["ledger", "gateway", "message", "domain", "flow"])
def test_only_the_doors_read_the_configuration(floor: str) -> None:
    # ledger/database/embedded*.py starts a server: where its socket may lie is the system's say, not a setting of ours.
    paths = [path for path in MODULES if floor_of(path) == floor and "ledger/database/embedded" not in named(path)]
    read = [
        f"{named(path)}:{node.lineno}"
        for path in paths
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute | ast.alias)
        and (node.attr if isinstance(node, ast.Attribute) else node.name) in {"environ", "getenv"}
    ]
    assert read == []


def wing_of(name: str) -> tuple[str, str] | None:
    """(floor, wing) of what is called postroom.flow.audience.intake; None for what is in no wing."""
    parts = name.split(".")
    return (parts[1], parts[2]) if len(parts) > 3 and parts[0] == "postroom" and parts[2] in WINGS.get(parts[1], ()) else None


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_wing_uses_itself_and_those_that_it_may(path: Path) -> None:
    own = wing_of(dotted(path))
    if own is None:
        assert floor_of(path) not in WINGS or path.name == "__init__.py" or named(path) == "message/content.py"
        return
    may_use = {own[1], *WINGS[own[0]][own[1]]}
    found = [
        f"{named(path)}:{line} imports {name}: {own[1]} may not use {wing[1]}"
        for line, name in imports_of(path)
        if (wing := wing_of(name)) is not None and (own[0] == "message") == (wing[0] == "message") and wing[1] not in may_use
    ]
    assert found == []


@pytest.mark.parametrize("top", ["src", "proofs", "bench", "tests"])
def test_no_import_runs_in_a_circle(top: str) -> None:
    """Those inside functions and TYPE_CHECKING too: who knows whom is the same question there."""
    files = {module_name(path, top): path for path in (ROOT / top).rglob("*.py")}
    graph = {name: {target for target in targets_of(path, name, files) if target != name} for name, path in files.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, with the circle


def module_name(path: Path, top: str) -> str:
    """As it is imported: proofs.checker, and postroom.config, harness, stage, whose folders are on the path."""
    parts = path.relative_to(ROOT if top == "proofs" else ROOT / top).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def targets_of(path: Path, name: str, files: Mapping[str, Path]) -> Iterator[str]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for _, imported in imports(path, tuple(package.split("."))):
        target = imported if imported in files else imported.rpartition(".")[0]
        if target in files:
            yield target


@pytest.mark.parametrize("floor", WINGS)
def test_tests_stand_where_what_they_test_stands(floor: str) -> None:
    tests = list((ROOT / "tests" / floor).rglob("test_*.py"))
    assert {path.parent.name for path in tests} - {floor} <= set(WINGS[floor])
    modules = {(path.stem, path.parent.name) for path in (PACKAGE / floor).rglob("*.py")}
    names = {name for name, _ in modules}
    assert [path.name for path in tests if (name := path.stem.removeprefix("test_")) in names
            and (name, path.parent.name) not in modules] == []


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_no_module_imports_what_this_project_replaces(path: Path) -> None:
    found = [
        f"{named(path)}:{line} imports {name}"
        for line, name in imports_of(path)
        if any(name == forbidden or name.startswith(f"{forbidden}.") for forbidden in FORBIDDEN_IMPORTS)
    ]
    assert found == []
    assert "parseaddr(" not in path.read_text(encoding="utf-8")


def test_no_module_has_a_name_that_says_nothing() -> None:
    found = [
        named(path)
        for path in MODULES
        if FORBIDDEN_NAMES & {part.removesuffix(".py").strip("_") for part in path.relative_to(PACKAGE).parts}
    ]
    assert found == []


@pytest.mark.parametrize("path", MODULES + SCRIPTS, ids=named)
def test_every_file_fits_in_one_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES_MAX


def test_no_tracked_file_names_a_package_registry() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    pattern = re.compile("|".join(map(re.escape, REGISTRY_HOSTS)).encode(), re.IGNORECASE)
    found = [
        name
        for name in listed.decode().split("\0")
        if name and (ROOT / name).is_file() and pattern.search((ROOT / name).read_bytes())
    ]
    assert found == []


@pytest.mark.parametrize("lock", sorted(ROOT.glob("requirements*.lock")), ids=lambda lock: lock.name)
def test_every_dependency_is_pinned_and_hashed_and_none_comes_from_a_named_place(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    entries = [entry for entry in re.split(r"\n(?=\S)", text) if entry.strip()]
    loose = [entry for entry in entries if not re.match(r"[a-z0-9.-]+(\[[a-z,]+\])?==\S+", entry) or "--hash=" not in entry]
    assert entries
    assert loose == []
    assert "://" not in text
    assert "--find-links" not in text
