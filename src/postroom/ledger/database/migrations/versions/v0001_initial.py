"""The engine's tables and the first ledger."""

from postroom.ledger.database.migrate import run_sql

revision = "0001"
down_revision = None


def upgrade() -> None:
    run_sql("procrastinate", "0001_initial.sql")
