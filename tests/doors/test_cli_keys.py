"""The command line: API keys, shown once, listed without their secrets, and revoked."""

from __future__ import annotations

import json

from postroom.flow.account.keys import holder_of
from stage import Stage

from .test_cli import one_sentence


async def test_a_key_is_printed_once_and_alone(stage: Stage, cli) -> None:
    account = await stage.account()
    ended = await cli("key", "create", "--name", "website")
    holder = await holder_of(stage.pool, ended.out.strip())
    assert holder is not None
    assert (holder.account_id, holder.name) == (account, "key website")
    assert ended.out.strip() not in ended.err


async def test_keys_are_listed_without_their_secrets_and_a_revoked_one_is_nobody_s(stage: Stage, cli) -> None:
    await stage.account("Club")
    await stage.account("School")
    secrets = [(await cli("key", "create", "--account", account, "--name", name)).out.strip()
               for account, name in (("Club", "website"), ("Club", "\x1b[2Jshop"), ("School", "website"))]
    told = (await cli("key", "list")).out + (await cli("key", "list", "--json")).out
    assert not any(secret in told or secret[-4:] in told.split() for secret in secrets)
    club = json.loads((await cli("key", "list", "--account", "Club", "--json")).out)
    assert [(one["account"], one["name"], one["revoked_at"]) for one in club] == [
        ("Club", "website", None), ("Club", "\x1b[2Jshop", None)]
    assert "\x1b" not in (await cli("key", "list")).out
    key_id = str(club[0]["id"])
    one_sentence(await cli("key", "revoke", key_id, "--account", "School"), f"There is no key {key_id} in this account.")
    one_sentence(await cli("key", "revoke", "999"), "There is no key 999.")
    assert await holder_of(stage.pool, secrets[0]) is not None
    ended = await cli("key", "revoke", key_id)
    assert (ended.status, ended.out.startswith(f"Key {key_id}, website of Club, is revoked since ")) == (0, True)
    first = json.loads((await cli("key", "revoke", key_id, "--json")).out)
    assert json.loads((await cli("key", "revoke", key_id, "--json")).out) == first, "revoking again changes nothing"
    assert [await holder_of(stage.pool, secret) is None for secret in secrets] == [True, False, False]
    one_sentence(await cli("key", "create", "--account", "Club", "--name", "website"), "which may be a revoked one")
