"""The one place where an actor is let do something or not: a flow function knows its account by asking here."""

from __future__ import annotations

from postroom.domain.access import Actor, Kind, Right
from postroom.errors import Forbidden

DOINGS = {
    Right.READ_JOBS: "see jobs", Right.WRITE_JOBS: "send, stop or change jobs", Right.APPROVE_JOBS: "approve jobs",
    Right.READ_CONTACTS: "see contacts", Right.WRITE_CONTACTS: "change contacts",
    Right.READ_SUPPRESSIONS: "see who opted out", Right.WRITE_SUPPRESSIONS: "change who opted out",
    Right.READ_SETTINGS: "see the settings", Right.WRITE_SETTINGS: "change the settings",
    Right.READ_AUDIT: "read the audit trail", Right.WRITE_ACCESS: "say who has access to it"}


def permitted(actor: Actor, right: Right) -> int:
    """The account that the actor acts in. Raises Forbidden where it has not that right there."""
    if right not in actor.rights:
        if actor.kind is Kind.KEY:
            raise Forbidden(f"This key may not {DOINGS[right]}: it has not the scope {right.value}.")
        raise Forbidden(f"Your role in this account does not let you {DOINGS[right]}.")
    return actor.account_id
