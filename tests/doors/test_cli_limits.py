"""Limits from the command line: a gateway's own, and an account's patience with temporary refusals."""

from __future__ import annotations

import json

from .test_cli import one_sentence

LIMITS = ("messages_per_s", "messages_per_connection", "daily_quota", "warm_up_from")


async def test_a_gateway_is_given_limits_and_shows_them(cli) -> None:
    await cli("account", "create", "Club")
    made = await cli("gateway", "create", "--host", "smtp.example", "--per-second", "14.5", "--per-connection", "100",
                     "--daily-quota", "50000", "--warm-up-from", "200", "--json")
    assert [json.loads(made.out)[limit] for limit in LIMITS] == [14.5, 100, 50_000, 200]
    table = (await cli("gateway", "list", COLUMNS="200")).out
    assert "14.5 a second, 100 a connection, 50,000 a day, warm-up from 200" in table
    ended = await cli("gateway", "create", "--host", "smtp.example", "--replace", "--per-second", "0")
    one_sentence(ended, "more than 0")
    corrected = await cli("gateway", "create", "--host", "smtp.example", "--replace", "--json")
    assert [json.loads(corrected.out)[limit] for limit in LIMITS] == [None] * 4


async def test_an_account_is_told_how_patient_it_is(cli) -> None:
    await cli("account", "create", "Club")
    shown = json.loads((await cli("account", "show", "--json")).out)
    assert (shown["retry_attempts_max"], shown["retry_deadline_s"], shown["retry_tail_s"]) == (10, 14_400, 1_800)
    told = await cli("account", "set", "--retry-attempts", "3", "--retry-deadline", "7200", "--retry-tail", "60")
    assert "tried up to 3 times, for up to 7,200 s" in told.out
    assert "ends after 60 s" in told.out
    one_sentence(await cli("account", "set", "--retry-tail", "0"), "1 to")
