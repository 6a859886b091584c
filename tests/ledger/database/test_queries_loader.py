"""The loader refuses, at boot, a .sql file and a module that do not fit together."""

from __future__ import annotations

from pathlib import Path

import pytest

from postroom.ledger.database.queries import QueryError, load

MODULE = 'from x import load\nSQL = load(__file__)\ndef f():\n    return SQL.one_thing\n'
ONE = "-- name: one_thing\n-- Why.\nSELECT 1 -- here\nWHERE true\n"


def write(directory: Path, module: str, queries: str) -> Path:
    (directory / "things.py").write_text(module)
    (directory / "things.sql").write_text(queries)
    return directory / "things.py"


def test_a_query_is_its_sql_without_the_reason(tmp_path: Path) -> None:
    sql = load(write(tmp_path, MODULE, "-- The things.\n\n" + ONE))
    assert sql.one_thing == "SELECT 1 -- here\nWHERE true"
    with pytest.raises(AttributeError, match="no query named 'another'"):
        _ = sql.another


@pytest.mark.parametrize(
    ("module", "queries", "complaint"),
    [
        (MODULE + "    SQL.no_thing", ONE, "uses queries that things.sql does not have: no_thing"),
        (MODULE, ONE + ONE.replace("one", "two"), "has queries that things.py does not use: two_thing"),
        (MODULE, ONE + ONE, "names one_thing twice"),
        (MODULE, "-- name: one_thing\nSELECT 1", "does not begin with a comment that says why"),
        (MODULE, "-- name: one_thing\n-- Why.\n", "one_thing has no SQL"),
        (MODULE, ONE + "-- name: two things\n-- Why.\nSELECT 2", "after one_thing comes a name that is no single word"),
        (MODULE, "SELECT 0;\n" + ONE, "does not begin with a comment or"),
    ],
)
def test_what_does_not_fit_fails_at_boot(tmp_path: Path, module: str, queries: str, complaint: str) -> None:
    with pytest.raises(QueryError, match=complaint):
        load(write(tmp_path, module, queries))
