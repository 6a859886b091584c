"""What the API can delete: contacts, sending domains, gateways, and the account with all that is its own."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from postroom.doors.api import problems
from postroom.doors.api.audience import Address
from postroom.doors.api.holder import Acting, takes_its_query
from postroom.doors.door import AtDoor
from postroom.flow.account import deletion
from postroom.flow.audience import contacts

router = APIRouter(dependencies=[takes_its_query], responses=problems.answers(401, 404, 408, 422, 429, 503))
MAY_BE_NEEDED = problems.answers(409)


class Deleted(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"deleted": "club.example"}]})

    deleted: str


class AccountDeleted(BaseModel):
    """How much of each went with it; `recipients` of all its jobs together."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [
        {"jobs": 12, "recipients": 60_000, "contacts": 5_012, "suppressions": 7, "gateways": 1, "domains": 1, "keys": 2}]})

    jobs: int
    recipients: int
    contacts: int
    suppressions: int
    gateways: int
    domains: int
    keys: int


@router.delete("/contacts", summary="Delete a contact")
async def delete_contact(door: AtDoor, actor: Acting, address: Address) -> Deleted:
    """Jobs keep their own copies of it and their counts, and an opt-out of the address stays."""
    await contacts.delete_contact(door.pool, actor, address)
    return Deleted(deleted=address)


@router.delete("/gateways", responses=MAY_BE_NEEDED, summary="Delete a gateway")
async def delete_gateway(door: AtDoor, actor: Acting, name: str) -> Deleted:
    """One that jobs name, of the history too, stays: 409."""
    await deletion.delete_gateway(door.pool, actor, name)
    return Deleted(deleted=name)


@router.delete("/domains", responses=MAY_BE_NEEDED, summary="Delete a sending domain with its keys")
async def delete_domain(door: AtDoor, actor: Acting, domain: str) -> Deleted:
    """409 while a job that is not over is signed with them. Keys cannot be made again."""
    return Deleted(deleted=await deletion.delete_domain(door.pool, actor, domain))


@router.delete("/account", responses=MAY_BE_NEEDED, summary="Delete the account of this key, with all that is its own")
async def delete_account(
    door: AtDoor, actor: Acting, name: Annotated[str, Query(description="The account's name, as it is: that it is meant.")],
) -> AccountDeleted:
    """Jobs, recipients, outcomes, contacts, opt-outs, gateways, domains and keys, this one too. For good. 409 while a job is not
    over."""
    gone = await deletion.delete_account(door.pool, actor, named=name)
    return AccountDeleted.model_validate(gone)
