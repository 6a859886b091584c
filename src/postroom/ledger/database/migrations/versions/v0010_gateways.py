"""What vouches for a gateway, and the login by access token."""

from postroom.ledger.database.migrate import run_sql

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    run_sql("0010_gateways.sql")
