"""Refusals for good of which nobody knows yet whom they are about."""

from postroom.ledger.database.migrate import run_sql

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    run_sql("0009_questions.sql")
