"""`postroom key`: create, list, revoke. A key is shown once, when it is made; from then on it goes by its id."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from postroom.doors.cli.terminal import (
    AccountOption,
    JsonOption,
    acting_in,
    acting_in_all,
    err,
    group,
    out,
    plain,
    print_json,
    table,
    when,
    with_postroom,
)
from postroom.doors.door import NUMBER_MAX
from postroom.doors.wiring import Postroom
from postroom.errors import NotFound
from postroom.flow.account import keys
from postroom.flow.account.keys import ApiKey

app = group("API keys of an account: create one, list them, revoke one.")


@app.command("create")
def create_key(
    account: AccountOption = None,
    name: Annotated[str, typer.Option(help="What it is for; shown as the maker of its jobs.")] = "api",
    as_json: JsonOption = False,
) -> None:
    """Create an API key and print it. It is shown this once and never again: only its hash is kept."""

    async def act(postroom: Postroom) -> str:
        return await keys.create_key(postroom.pool, await acting_in(postroom, account), name)

    key = with_postroom(act)
    if as_json:
        print_json({"name": name, "key": key})
    else:
        err().print("Keep it now; it cannot be shown again. Use it as: Authorization: Bearer KEY")
        typer.echo(key)


@app.command("list")
def list_keys(account: AccountOption = None, as_json: JsonOption = False) -> None:
    """List the API keys, and which of them are revoked. Without --account: those of all accounts."""

    async def act(postroom: Postroom) -> list[ApiKey]:
        actors = await acting_in_all(postroom) if account is None else [await acting_in(postroom, account)]
        found = [key for actor in actors for key in await keys.keys(postroom.pool, actor)]
        return sorted(found, key=lambda key: key.id)

    every = with_postroom(act)
    if as_json:
        print_json([_key_shown(one) for one in every])
        return
    listed = table("Id#", "Account", "Name", "Created", "Revoked")
    for one in every:
        listed.add_row(str(one.id), plain(one.account_name), plain(one.name), when(one.created_at), when(one.revoked_at))
    out().print(listed if every else "There is no key yet. Create one: postroom key create.")


@app.command("revoke")
def revoke(
    key_id: Annotated[int, typer.Argument(min=1, max=NUMBER_MAX, metavar="ID", help="The key's id: postroom key list.")],
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Revoke an API key, at once and for good: whoever holds it is nobody from then on. Jobs that it made go on."""

    async def act(postroom: Postroom) -> ApiKey:
        for actor in await acting_in_all(postroom) if account is None else [await acting_in(postroom, account)]:
            with contextlib.suppress(NotFound):
                return await keys.revoke_key(postroom.pool, actor, key_id)
        raise NotFound(f"There is no key {key_id}{'' if account is None else ' in this account'}.")

    revoked = with_postroom(act)
    if as_json:
        print_json(_key_shown(revoked))
    else:
        out().print(f"Key {revoked.id}, {plain(revoked.name)} of {plain(revoked.account_name)}, is revoked since "
                    f"{when(revoked.revoked_at)}.", soft_wrap=True)


def _key_shown(key: ApiKey) -> dict[str, object]:
    return {"id": key.id, "account": key.account_name, "name": key.name, "created_at": key.created_at.isoformat(),
            "revoked_at": None if key.revoked_at is None else key.revoked_at.isoformat()}
