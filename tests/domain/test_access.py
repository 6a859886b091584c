"""Who may do what: the table of roles and rights, as it is promised."""

from __future__ import annotations

from itertools import pairwise

from postroom.domain import access
from postroom.domain.access import KEY_RIGHTS, RIGHTS, Right, Role


def test_each_role_may_do_all_that_the_one_before_it_may_and_more() -> None:
    steps = [RIGHTS[role] for role in (Role.VIEWER, Role.SENDER, Role.APPROVER, Role.ADMIN)]
    assert all(less < more for less, more in pairwise(steps))
    assert RIGHTS.keys() == set(Role)
    assert RIGHTS[Role.ADMIN] == set(Right)


def test_the_table_that_people_read_says_what_the_code_does() -> None:
    head, *rows = [line for line in (access.__doc__ or "").splitlines() if line.startswith("    ")]
    columns = [*((role.value, head.index(role)) for role in Role), ("key", head.index("a key"))]
    ends = [at for _, at in columns[1:]] + [200]
    assert {row.split()[0] for row in rows} == set(Right)
    for row in rows:
        right = Right(row.split()[0])
        told = [name for (name, at), end in zip(columns, ends, strict=True) if "x" in row[at:end]]
        assert told == [*(role for role in Role if right in RIGHTS[role]), *(["key"] if right in KEY_RIGHTS else [])]


def test_no_key_says_who_has_access() -> None:
    assert {Right.WRITE_ACCESS} == set(Right) - KEY_RIGHTS
