"""Named queries from the .sql file beside a ledger module.

    -- name: start_job
    -- Why it is as it is, in at least one line.
    UPDATE ... WHERE job_id = %(job_id)s

`SQL = load(__file__)` in jobs.py reads jobs.sql beside it; `SQL.start_job` is its text, without whole-line comments. Loading
fails, and so does the import of jobs.py at boot, when a name is given twice, has no reason or no SQL, is used but not
there, or is there but not used. Uses are read from the source of jobs.py, so that no second list of names has to be
kept. A literal percent sign is written %%, as psycopg wants it.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import SimpleNamespace

_NAME = re.compile(r"^-- name:[ \t]*(\w+)[ \t]*$", re.MULTILINE)


class QueryError(Exception):
    """A .sql file and its module do not fit together: a bug, seen at boot."""


class Queries(SimpleNamespace):
    """Each query as an attribute, a str."""

    def __getattr__(self, name: str) -> str:
        raise AttributeError(f"there is no query named {name!r}")


def load(module: str | Path) -> Queries:
    """The queries of the .sql file beside a module, checked against it. `module` is the module's own file."""
    module = Path(module)
    path = module.with_suffix(".sql")
    queries = _parse(path)
    used = _used(module.read_text())
    if unknown := used - queries.keys():
        raise QueryError(f"{module.name} uses queries that {path.name} does not have: {', '.join(sorted(unknown))}")
    if unused := queries.keys() - used:
        raise QueryError(f"{path.name} has queries that {module.name} does not use: {', '.join(sorted(unused))}")
    return Queries(**queries)


def _parse(path: Path) -> dict[str, str]:
    head, *parts = _NAME.split(path.read_text())
    if any(line and not line.startswith("--") for line in head.splitlines()) or "-- name" in head:
        raise QueryError(f"{path.name} does not begin with a comment or '-- name: some_name'")
    queries: dict[str, str] = {}
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        lines = text.strip().splitlines()
        body = "\n".join(line for line in lines if not line.lstrip().startswith("--")).strip()
        if name in queries:
            raise QueryError(f"{path.name} names {name} twice")
        if not lines or not lines[0].startswith("--"):
            raise QueryError(f"{path.name}: {name} does not begin with a comment that says why")
        if any(line.startswith("-- name") for line in lines):
            raise QueryError(f"{path.name}: after {name} comes a name that is no single word")
        if not body:
            raise QueryError(f"{path.name}: {name} has no SQL")
        queries[name] = body
    return queries


def _used(source: str) -> set[str]:
    """The attributes read from the variable that holds `load(...)`."""
    nodes = list(ast.walk(ast.parse(source)))
    holders = {
        target.id
        for node in nodes
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func).split(".")[-1] == "load"
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in holders
    }
