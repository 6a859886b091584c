"""The operator's sessions, and the links that begin them."""

from postroom.ledger.database.migrate import run_sql

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    run_sql("0004_operator.sql")
