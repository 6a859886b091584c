"""Opt-outs of the API: whom the account must not mail, since when, by whom and why; taken off, looked up, lifted."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from postroom.doors.api import problems
from postroom.doors.api.holder import Acting, takes_its_query
from postroom.doors.api.paging import Limit, link_next
from postroom.doors.api.requests import Line, Strict, Text
from postroom.doors.door import AtDoor
from postroom.flow.audience import suppressions

ADDRESSES_AT_ONCE = 10_000
SUPPRESSION_EXAMPLE: dict[str, Any] = {
    "address": "ann@example.org", "reason": "Unsubscribed by the link in job 7.", "by": "recipient",
    "since": "2026-03-31T09:30:00Z"}

router = APIRouter(dependencies=[takes_its_query], responses=problems.answers(401, 408, 422, 429, 503))


def _spelt(address: str) -> str:
    """A plus in a URL arrives as a space unless it is written as %2B, and no usable address has a space."""
    return address.replace(" ", "+")


Address = Annotated[str, AfterValidator(_spelt)]


class SuppressionShown(BaseModel):
    """`by`: "recipient" for whoever used the link in a message; else the key, the user of the command line, or the operator."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [SUPPRESSION_EXAMPLE]})

    address: str
    reason: str
    by: str
    since: datetime


class SuppressionPage(BaseModel):
    """`next_cursor` is null on the last page."""

    items: list[SuppressionShown]
    next_cursor: str | None


class SuppressionEventShown(BaseModel):
    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [
        {"at": "2026-04-02T10:00:00Z", "verb": "lift", "by": "key website", "reason": "Signed up again by letter."}]})

    at: datetime
    verb: Annotated[str, Field(description="suppress or lift.")]
    by: str
    reason: str


class SuppressionTrail(BaseModel):
    items: list[SuppressionEventShown]


class NewSuppressions(Strict):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [
        {"addresses": ["ann@example.org"], "reason": "Asked by telephone."}]})

    addresses: Annotated[list[Text], Field(min_length=1, max_length=ADDRESSES_AT_ONCE, fail_fast=True)]
    reason: Line = "Opted out."


class Suppressed(BaseModel):
    """How many became suppressed by this, and how many were so before: their first reason stands."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"suppressed": 1, "already": 0}]})

    suppressed: int
    already: int


@router.get("/suppressions", summary="Whom the account must not mail, by address")
async def list_suppressions(
    request: Request, response: Response, door: AtDoor, actor: Acting,
    address: Annotated[Address | None, Query(description="Only this one, however it is spelt, as duplicates are told.",
                                             examples=["ann@example.org"])] = None,
    cursor: Annotated[str, Query(max_length=1_000, description="`next_cursor` of the page before.")] = "", limit: Limit = 100,
) -> SuppressionPage:
    page = await suppressions.suppressions(door.pool, actor, address=address, after=cursor, limit=limit + 1)
    more = page[limit - 1].address if len(page) > limit else None
    link_next(request, response, more)
    return SuppressionPage(items=[SuppressionShown.model_validate(one) for one in page[:limit]], next_cursor=more)


@router.get("/suppressions/trail", summary="All that was decided about one address")
async def show_suppression_trail(door: AtDoor, actor: Acting, address: Address) -> SuppressionTrail:
    """In order, also of an address that was lifted. Empty where nothing was ever decided."""
    told = await suppressions.trail(door.pool, actor, address)
    return SuppressionTrail(items=[SuppressionEventShown.model_validate(one) for one in told])


@router.post("/suppressions", responses=problems.answers(400, 413), summary="Never mail these addresses again")
async def add_suppressions(door: AtDoor, actor: Acting, body: NewSuppressions) -> Suppressed:
    """From the next window on, in jobs that are sending too. All of them or none: the row of one that is no address is named."""
    added = await suppressions.suppress(
        door.pool, actor, body.addresses, body.reason)
    return Suppressed(suppressed=added, already=len(body.addresses) - added)


@router.delete("/suppressions", responses=problems.answers(404, 409), summary="Let an address be mailed again")
async def lift_suppression(
    door: AtDoor, actor: Acting, address: Address,
    reason: Annotated[str, Query(description="Why it is to be mailed again: kept, with who did it and when.")],
    confirmed: Annotated[bool, Query(description="That the person asked for it, or was taken off by mistake.")] = False,
) -> SuppressionShown:
    """Answers with what is lifted. Without `confirmed` it is a 409 that says what it would mean, and nothing is done."""
    lifted = await suppressions.lift(door.pool, actor, address, reason,
                                     is_deliberate=confirmed)
    return SuppressionShown.model_validate(lifted)
