"""Who acts, as statements are told it: the name as it is now, and whom it stands for."""

from __future__ import annotations

from postroom.domain.access import Actor


def said_by(actor: Actor) -> dict[str, object]:
    """The parameters `by`, `by_person` and `by_key` of a statement that records who did something."""
    return {"by": actor.name, "by_person": actor.person_id, "by_key": actor.key_id}
