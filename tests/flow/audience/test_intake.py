"""Rows on their way into the database: judged, never repaired, whatever they hold."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroom.bounded.processes import IN_THREAD
from postroom.domain.audience import IncomingRow, Unreadable, incoming_row
from postroom.errors import InvalidInput
from postroom.flow.audience import intake
from postroom.flow.audience.intake import BLOCK_OCTETS, fill_intake, read_through
from postroom.ledger.database.db import Pool
from postroom.ledger.job import recipients

TAKEN = "SELECT row_no, address, address_key, problem, fields FROM intake ORDER BY row_no"


async def taken_in(pool: Pool, rows: list[IncomingRow]) -> list[tuple[object, ...]]:
    async with (read_through(IN_THREAD, 1, rows) as listed, pool.connection() as conn,
                conn.transaction(force_rollback=True)):
        await fill_intake(conn, await recipients.create_intake(conn), listed)
        return await (await conn.execute(TAKEN)).fetchall()


async def test_a_usable_address_has_a_key_and_an_unusable_one_a_reason(pool: Pool) -> None:
    rows = [IncomingRow(2, " Ann@EXAMPLE.org ", {"n": 1}), IncomingRow(3, "nobody", {}), IncomingRow(4, "Ż@x.example", {})]
    first, second, third = await taken_in(pool, rows)
    assert first == (2, "Ann@example.org", "ann@example.org", None, {"n": 1})
    assert second == (3, "nobody", "", "There is no @ in the address.", {})
    assert third == (4, "Ż@x.example", "ż@x.example", None, {})


@pytest.mark.parametrize("count", [0, 1, 3 * BLOCK_OCTETS // 1_000])
async def test_blocks_lose_and_repeat_nothing(pool: Pool, count: int) -> None:
    taken = await taken_in(pool, [IncomingRow(n, f"a{n}@x.example", {"text": 997 * "x"}) for n in range(2, count + 2)])
    assert [row[0] for row in taken] == list(range(2, count + 2))


async def test_a_list_that_comes_to_too_much_with_the_names_of_its_fields_is_refused(
        pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "INTAKE_OCTETS_MAX", 100_000)
    rows = [IncomingRow(n, f"a{n}@x.example", {"n" * 1_000: ""}) for n in range(2, 200)]
    assert len(await taken_in(pool, rows[:90])) == 90
    with pytest.raises(InvalidInput, match="Leave out columns") as refused:
        await taken_in(pool, rows)
    assert refused.value.faults[0].row == 97


async def test_half_a_character_in_a_field_is_refused_and_in_an_address_makes_it_unusable(pool: Pool) -> None:
    with pytest.raises(InvalidInput, match="Row 7 holds half a character"):
        await taken_in(pool, [IncomingRow(7, "a@x.example", {"n": "\ud800"})])
    (row,) = await taken_in(pool, [IncomingRow(7, "a\ud800@x.example", {})])
    assert row[1:3] == ("a?@x.example", "")


text = st.text(st.characters(blacklist_characters="\0"), max_size=20)
value = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | text


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(address=text, fields=st.dictionaries(text, value, max_size=4))
async def test_whatever_a_row_holds_comes_back_as_it_was_or_is_refused_by_name(
        pool: Pool, address: str, fields: dict[str, object]) -> None:
    try:
        row = incoming_row(2, {"email": address, "fields": fields})
        ((_, shown, key, problem, kept),) = await taken_in(pool, [row])
    except (InvalidInput, Unreadable) as error:
        assert "half a character" in str(error)  # noqa: PT017 - a refusal is one of two good ends
        return
    assert kept == fields
    assert (problem is None) == (key != "")
    if problem is not None:
        assert shown == address.encode("utf-8", "replace").decode()
