"""What can be deleted, and opt-outs that are lifted."""

from postroom.ledger.database.migrate import run_sql

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    run_sql("0011_deletions.sql")
