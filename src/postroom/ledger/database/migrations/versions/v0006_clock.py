"""Time that nobody can vouch for counts against nobody."""

from postroom.ledger.database.migrate import run_sql

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    run_sql("0006_clock.sql")
