"""The operator's sessions, and the links that begin them."""

from postroom.ledger.database.migrate import run_sql

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    run_sql("0005_operator.sql")
