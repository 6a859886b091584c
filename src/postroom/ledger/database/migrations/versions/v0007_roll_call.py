"""After a fail-over every worker is asked for what it knows, before anything goes on."""

from postroom.ledger.database.migrate import run_sql

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    run_sql("0007_roll_call.sql")
