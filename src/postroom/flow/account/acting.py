"""The one place where an actor is let do something or not: a flow function knows its account by asking here."""

from __future__ import annotations

from postroom.domain.access import Actor, Kind, Right
from postroom.errors import Forbidden

DOINGS = {
    Right.READ_JOBS: "see its jobs", Right.WRITE_JOBS: "send, stop or change its jobs", Right.APPROVE_JOBS: "approve its jobs",
    Right.READ_CONTACTS: "see its contacts", Right.WRITE_CONTACTS: "change its contacts",
    Right.READ_SUPPRESSIONS: "see who opted out", Right.WRITE_SUPPRESSIONS: "change who opted out",
    Right.READ_SETTINGS: "see its settings", Right.WRITE_SETTINGS: "change its settings",
    Right.READ_AUDIT: "read its audit trail", Right.WRITE_ACCESS: "say who has access to it"}


def permitted(actor: Actor, right: Right) -> int:
    """The account that the actor acts in. Raises Forbidden where it has not that right there."""
    if right not in actor.rights:
        what = "This key has not the scope" if actor.kind is Kind.KEY else "Your role in this account has not the right"
        raise Forbidden(f"{what} {right.value}: it may not {DOINGS[right]}.", right=right.value)
    return actor.account_id
