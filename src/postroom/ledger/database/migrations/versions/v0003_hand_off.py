"""What the proven hand-off needs: pace, pauses, continuations, stronger evidence, the restore guard, the auditor."""

from postroom.ledger.database.migrate import run_sql

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run_sql("0003_hand_off.sql")
