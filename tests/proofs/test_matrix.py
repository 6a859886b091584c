"""Every phase and every fault: the cells of the table, each once."""

from __future__ import annotations

from proofs import matrix
from proofs.verdict import Scale


async def test_each_fault_in_each_phase_becomes_what_the_table_says() -> None:
    verdict = await matrix.prove(Scale.SHORT, 4, print)
    assert verdict.faults == []
    assert verdict.figures["played"] == len(matrix.TABLE)


def test_the_table_has_a_cell_for_each_phase_and_each_way_to_break() -> None:
    cells = {(cell.where, cell.name) for cell in matrix.TABLE}
    assert len(cells) == len(matrix.TABLE), "a cell stands there twice"
    for phase in ("connect", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "content", "final dot", "RSET", "QUIT"):
        assert {(phase, name) for name in matrix.BREAKS} <= cells, phase
