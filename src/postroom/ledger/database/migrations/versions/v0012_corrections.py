"""Which job takes the place of one that is changed before it is sent, and how its list was read."""

from postroom.ledger.database.migrate import run_sql

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    run_sql("0012_corrections.sql")
