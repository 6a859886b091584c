"""Who acts, by number beside the name as it was."""

from postroom.ledger.database.migrate import run_sql

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    run_sql("0013_actors.sql")
