"""Sends through a gateway that takes access tokens alone and is known by its own CA: nobody is failed for either."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass

from acting import acting
from postroom.domain.job import Status
from postroom.flow.account import gateways
from postroom.flow.account.gateways import Grant, Login
from postroom.flow.account.secrets import SecretBox
from postroom.flow.job import report
from postroom.flow.preview.try_out import Answer, send_test
from postroom.gateway.sandbox.script import Answer as ScriptedAnswer
from postroom.gateway.sandbox.script import Script
from stage import SECRET_KEY, Stage, eventually, staged
from token_endpoint import AUTHORITY, CA_PEM, SECRET, TokenEndpoint, token_endpoint

BOX = SecretBox(SECRET_KEY)
USER = "club@club.example"


@dataclass
class Told:
    stage: Stage
    issuer: TokenEndpoint
    account: int

    async def waits(self, job_id: int) -> str:
        """What the page says of a job that waits, with nobody failed."""
        async def told() -> str | None:
            view = await report.report(self.stage.pool, acting(self.account), job_id)
            assert view.job.failed == view.job.unconfirmed == 0
            return view.sentence if view.job.waits_because else None
        sentence: str = await eventually(told)
        return sentence

    async def counts(self, job_id: int) -> tuple[int, ...]:
        assert (await self.stage.over(self.account, job_id)).status is Status.COMPLETED
        return (await self.stage.sides(self.account, job_id)).counts

    async def rows_with(self, secret: str) -> int:
        """Of every table, how many hold this text."""
        found = 0
        for (name,) in await self.stage.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
            [(count,)] = await self.stage.query(f"SELECT count(*) FROM {name} t WHERE strpos(t::text, %s) > 0", secret)
            found += count
        return found


@contextlib.asynccontextmanager
async def gateway_by_token(pool, database, *, secret: str = SECRET, ca: str | None = CA_PEM) -> AsyncIterator[Told]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("localhost").configure_cert(context)
    known: dict[str, str] = {}
    async with token_endpoint(known) as issuer, staged(pool, database, tls=context, tokens=known) as stage:
        account = await stage.account()
        await gateways.create_gateway(
            pool, BOX, acting(account), name="main", host="localhost", port=stage.sandbox.port, security="starttls",
            username=USER,
            grant=Grant(issuer.url, "postroom", secret), ca_certificates=ca, signs_dkim=True, replace=True)
        yield Told(stage, issuer, account)


async def test_a_send_by_token_needs_one_for_all_its_sessions(pool, database) -> None:
    async with gateway_by_token(pool, database) as told:
        async with told.stage.worker():
            job = await told.stage.started(told.account, 300)
            assert await told.counts(job.id) == (300, 0, 0, 0, 0)
        assert len(told.issuer.asked) <= 2, "one of the worker, and one of the check before"
        (token, *_) = told.stage.sandbox.tokens
        assert await told.rows_with(token[-60:]) == await told.rows_with(SECRET) == 0


async def test_a_token_that_is_taken_back_in_the_middle_costs_nobody_anything(pool, database) -> None:
    async with gateway_by_token(pool, database) as told:
        told.stage.sandbox.script = Script(dot=ScriptedAnswer(delay_s=0.002), messages_per_connection_max=40)
        async with told.stage.worker():
            job = await told.stage.started(told.account, 400)
            await told.stage.until_accepted(100)
            told.stage.sandbox.tokens.clear()
            assert await told.counts(job.id) == (400, 0, 0, 0, 0)


async def test_a_secret_that_is_wrong_makes_the_job_wait_and_a_mended_one_is_taken_up(pool, database) -> None:
    async with gateway_by_token(pool, database, secret="wrong-secret-9") as told, told.stage.worker():
        job = await told.stage.started(told.account, 60)
        sentence = await told.waits(job.id)
        assert "“invalid_client: Wrong: ********”" in sentence
        assert await told.rows_with("wrong-secret-9") == 0
        await gateways.change_gateway(pool, BOX, acting(told.account), "main",
                                      login=Login(USER, grant=Grant(told.issuer.url, "postroom", SECRET)))
        assert await told.counts(job.id) == (60, 0, 0, 0, 0)


async def test_a_token_that_the_gateway_refuses_stops_the_gateway_and_no_recipient(pool, database) -> None:
    async with gateway_by_token(pool, database) as told:
        told.issuer.user = "somebody-else"
        async with told.stage.worker():
            job = await told.stage.started(told.account, 60)
            sentence = await told.waits(job.id)
            assert "refused the access token: “535" in sentence
            assert "status 401" in sentence
            told.issuer.user = USER
            assert await told.counts(job.id) == (60, 0, 0, 0, 0)


async def test_a_gateway_that_shows_an_unknown_certificate_is_waited_for_until_its_ca_is_given(pool, database) -> None:
    async with gateway_by_token(pool, database, ca=None) as told:
        await gateways.change_gateway(pool, BOX, acting(told.account), "main", login=Login(USER, "no matter"))
        async with told.stage.worker():
            job = await told.stage.started(told.account, 60)
            sentence = await told.waits(job.id)
            assert "nobody whom this machine trusts" in sentence
            assert "--ca-file" in sentence
            await gateways.change_gateway(pool, BOX, acting(told.account), "main", ca_certificates=CA_PEM,
                                          login=Login(USER, grant=Grant(told.issuer.url, "postroom", SECRET)))
            assert await told.counts(job.id) == (60, 0, 0, 0, 0)


async def test_a_test_message_goes_the_same_way(pool, database) -> None:
    async with gateway_by_token(pool, database) as told:
        job = await told.stage.submit(told.account, 200)
        [tried] = await send_test(pool, told.stage.deployment, acting(told.account, "boss"), job.id, 1, ["ann@club.example"])
        assert tried.answer is Answer.ACCEPTED
