"""Leases may last longer on one machine than on another."""

from postroom.ledger.database.migrate import run_sql

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    run_sql("0008_lease.sql")
