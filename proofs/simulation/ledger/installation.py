"""The statements of `ledger/database/installation.sql`."""

from __future__ import annotations

from proofs.simulation.ledger.tables import Parameters, Rows, Tables


def beat(tables: Tables, now: float, given: Parameters) -> Rows:
    return [(tables.installation, tables.draw("beat"))]


def look(tables: Tables, now: float, given: Parameters) -> Rows:
    return [(tables.installation, tables.sequence.get("beat", 0))]


def raise_to(tables: Tables, now: float, given: Parameters) -> Rows:
    tables.sequence["beat"] = max(tables.sequence.get("beat", 0), given["beat"])
    return []


def jobs_that_may_send(tables: Tables, now: float, given: Parameters) -> Rows:
    return [(job.account_id, job.id) for job in tables.job.values() if not job.status.is_over]
