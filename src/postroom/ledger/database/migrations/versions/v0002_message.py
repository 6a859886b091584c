"""What the message needs: domains and keys, attachments, the pre-flight."""

from postroom.ledger.database.migrate import run_sql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run_sql("0002_message.sql")
