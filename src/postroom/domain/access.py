"""Who may do what: the rights, the roles that hold them, and the actor, who stands behind all that is done.

    right                 viewer   sender   approver   admin   a key may hold it
    jobs:read                x        x         x        x            x
    contacts:read            x        x         x        x            x
    suppressions:read        x        x         x        x            x
    jobs:write                        x         x        x            x
    contacts:write                    x         x        x            x
    suppressions:write                x         x        x            x
    settings:read                     x         x        x            x
    jobs:approve                                x        x            x
    settings:write                                       x            x
    audit:read                                           x            x
    access:write                                         x

Each role may do all that the one before it may. Beside them stands the operator of the installation, who makes accounts and
sees to the machine, and by that alone has no right in any account.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Right(StrEnum):
    """What an actor may do in an account, by the name that a key's scope has."""

    READ_JOBS = "jobs:read"  # with their recipients
    READ_CONTACTS = "contacts:read"
    READ_SUPPRESSIONS = "suppressions:read"
    WRITE_JOBS = "jobs:write"  # make, test, pause, cancel, continue, settle
    WRITE_CONTACTS = "contacts:write"
    WRITE_SUPPRESSIONS = "suppressions:write"
    READ_SETTINGS = "settings:read"
    APPROVE_JOBS = "jobs:approve"
    WRITE_SETTINGS = "settings:write"  # gateways, domains, the account itself
    READ_AUDIT = "audit:read"
    WRITE_ACCESS = "access:write"  # people, their roles, and keys


class Role(StrEnum):
    """What a person is in an account."""

    VIEWER = "viewer"
    SENDER = "sender"
    APPROVER = "approver"
    ADMIN = "admin"


class Kind(StrEnum):
    """What an actor is."""

    PERSON = "person"
    KEY = "key"
    MACHINE = "machine"  # whoever has a shell on it
    RECIPIENT = "recipient"  # by the link of a message
    POSTROOM = "postroom"  # by itself


_VIEWER = frozenset({Right.READ_JOBS, Right.READ_CONTACTS, Right.READ_SUPPRESSIONS})
_SENDER = _VIEWER | {Right.WRITE_JOBS, Right.WRITE_CONTACTS, Right.WRITE_SUPPRESSIONS, Right.READ_SETTINGS}
_APPROVER = _SENDER | {Right.APPROVE_JOBS}
EVERY_RIGHT = frozenset(Right)
RIGHTS: Mapping[Role, frozenset[Right]] = {
    Role.VIEWER: _VIEWER, Role.SENDER: _SENDER, Role.APPROVER: _APPROVER, Role.ADMIN: EVERY_RIGHT}
KEY_RIGHTS = EVERY_RIGHT - {Right.WRITE_ACCESS}


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, and in which account. `name` is as it stands in trails, and stays there when it changes later.

    `person_id` is the person, or the one who made the key: whoever answers for what is done.
    """

    kind: Kind
    name: str
    account_id: int
    rights: frozenset[Right]
    person_id: int | None = None
    key_id: int | None = None


def postroom_itself(account_id: int) -> Actor:
    """Postroom itself: nobody decided."""
    return Actor(Kind.POSTROOM, Kind.POSTROOM.value, account_id, EVERY_RIGHT)


def machine(account_id: int, name: str) -> Actor:
    """Whoever has a shell on the machine of this installation, by the name of that user."""
    return Actor(Kind.MACHINE, name, account_id, EVERY_RIGHT)


def recipient(account_id: int) -> Actor:
    """Whoever follows the link of a message that an account sent: the token says who, and that is all they may do."""
    return Actor(Kind.RECIPIENT, Kind.RECIPIENT.value, account_id, frozenset())
