"""`postroom check`: looks at everything that Postroom needs, and says of each thing whether it is there.

Promises: nothing is changed and nothing is sent; each look has a short deadline; one thing that is wrong hides no other.
"""

from __future__ import annotations

import asyncio

from postroom.config import Settings, find_home, misspelt
from postroom.domain.access import postroom_itself
from postroom.domain.checking import Finding, Level
from postroom.doors import supervisor, wiring
from postroom.doors.home import check_home, owner_of
from postroom.doors.wiring import Postroom
from postroom.errors import PostroomError, Unavailable
from postroom.flow.account import accounts, domains, gateways
from postroom.flow.account.accounts import Account
from postroom.flow.account.authentication import check_domains
from postroom.flow.account.deployment import try_gateway
from postroom.flow.account.gateways import Gateway
from postroom.flow.delivery.guard import held_jobs

DEADLINE_S = 20.0
HERE_ALONE = (".localdomain", ".localhost", ".local", ".internal", ".lan", ".home.arpa")  # names that no other network knows


async def check_all(settings: Settings) -> list[Finding]:
    """Every finding, in the order in which things are needed."""
    findings = [Finding(Level.WARNING, "settings", told) for told in misspelt()]
    findings += [*check_home(settings, find_home()), await _user(settings)]
    findings += [_secret_key(settings), _port(settings), _name(settings)]
    database, usable = await _database(settings)
    findings.append(database)
    if usable:
        findings += await _accounts(settings)
    return findings


async def _user(settings: Settings) -> Finding:
    try:
        runs_as = await wiring.runs_as(settings, may_create=False)
    except Unavailable as error:
        return Finding(Level.ERROR, "user", str(error))
    data = wiring.embedded_of(settings).data
    is_there = settings.database_url is None and wiring.has_database(settings)
    database = f" The embedded database runs as {owner_of(data)}." if is_there else ""
    return Finding(Level.WARNING if runs_as.is_wrong else Level.OK, "user", runs_as.told + database)


def _secret_key(settings: Settings) -> Finding:
    if settings.secret_key is not None:
        return Finding(Level.OK, "secret key", "POSTROOM_SECRET_KEY is set.")
    path = settings.home / "secret_key"
    if settings.database_url is not None:
        return Finding(Level.WARNING, "secret key", f"POSTROOM_SECRET_KEY is not set, so this machine uses {path}. "
                       "Every machine of this database needs the same: set it on all of them.")
    if not wiring.has_secret_key(settings):
        return Finding(Level.OK, "secret key", f"None yet: it is made at the first start and kept in {path}. Back it up.")
    try:
        wiring.secret_key(settings)
    except Unavailable as error:
        return Finding(Level.ERROR, "secret key", str(error))
    return Finding(Level.OK, "secret key", f"Kept in {path}. Back it up, apart from the database.")


def _port(settings: Settings) -> Finding:
    try:
        supervisor.listen(settings.host, settings.port).close()
    except PostroomError as error:
        return Finding(Level.WARNING, "port", f"{error} That is as it should be while `postroom serve` runs here.")
    return Finding(Level.OK, "port", f"Port {settings.port} on {settings.host} is free for `postroom serve`.")


def _name(settings: Settings) -> Finding:
    """RFC 5321, section 4.1.4: a fully qualified name. Many gateways refuse any other one, some as late as for a recipient."""
    name = settings.helo_name.rstrip(".").lower()
    if "." in name and not name.endswith(HERE_ALONE):
        return Finding(Level.OK, "name", f"Gateways are greeted as {settings.helo_name}.")
    return Finding(Level.WARNING, "name", f"Gateways are greeted as {settings.helo_name}, which is no name on the Internet: many "
                   "refuse it. Set POSTROOM_HELO_NAME to this machine's full name, such as mail.example.com.")


async def _database(settings: Settings) -> tuple[Finding, bool]:
    """The finding, and whether the accounts can be read without changing anything."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            facts = await wiring.look_at_database(settings)
    except PostroomError as error:
        return Finding(Level.ERROR, "database", str(error)), False
    except TimeoutError:
        late = f"It did not answer within {DEADLINE_S:.0f} s. Look at the server and the network."
        return Finding(Level.ERROR, "database", late), False
    if facts is None:
        return Finding(Level.OK, "database", f"The embedded one; it is made in {settings.home} at the first start."), False
    told = f"{facts.where}, version {facts.version}, can be used and keeps what it commits."
    if facts.pending:
        told += f" It lacks migrations ({', '.join(facts.pending)}): the next start applies them, and so does `postroom migrate`."
        return Finding(Level.WARNING, "database", told), False
    return Finding(Level.OK, "database", f"{told} It is up to date."), True


async def _accounts(settings: Settings) -> list[Finding]:
    findings = []
    try:
        async with wiring.opened(settings, name="check", connections=1) as postroom:
            findings += await _held_jobs(postroom)
            every = await accounts.all_accounts(postroom.pool)
            if not every:
                told = "There is none yet. Create one: postroom account create NAME."
                return [*findings, Finding(Level.WARNING, "accounts", told)]
            for account in every:
                findings += await _gateways_of(postroom, account)
                findings += await _domains_of(postroom, account)
    except PostroomError as error:
        findings.append(Finding(Level.ERROR, "accounts", str(error)))
    return findings


async def _held_jobs(postroom: Postroom) -> list[Finding]:
    """What Postroom paused by itself, because it doubts its database or its own numbers. Only a person lets it go on."""
    return [Finding(Level.ERROR, f"job {job.job_id} of {job.account_name}",
                    f"Paused by Postroom since {job.since:%Y-%m-%d %H:%M} UTC. {job.reason} Look at it: postroom jobs show "
                    f"{job.job_id}. Then postroom jobs resume {job.job_id}, or postroom jobs cancel {job.job_id}.")
            for job in await held_jobs(postroom.pool)]


async def _gateways_of(postroom: Postroom, account: Account) -> list[Finding]:
    every = await gateways.gateways(postroom.pool, postroom_itself(account.id))
    if not every:
        return [Finding(Level.WARNING, f"account {account.name}", "It has no gateway, so it cannot send. Create one: "
                        f'postroom gateway create --account "{account.name}" --host HOST.')]
    return list(await asyncio.gather(*(_gateway(postroom, account, gateway) for gateway in every)))


async def _domains_of(postroom: Postroom, account: Account) -> list[Finding]:
    """What DNS says of the domains that the account signs for; nothing of an account that signs for none."""
    if not await domains.keys_of_account(postroom.pool, postroom_itself(account.id)):
        return []
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await check_domains(postroom.pool, postroom_itself(account.id))
    except (PostroomError, TimeoutError) as error:
        told = str(error) or f"DNS took more than {DEADLINE_S:.0f} s."
        return [Finding(Level.ERROR, f"sending domains of {account.name}", told)]


async def _gateway(postroom: Postroom, account: Account, gateway: Gateway) -> Finding:
    subject = f"gateway {gateway.name} of {account.name}"
    try:
        async with asyncio.timeout(DEADLINE_S):
            facts = await try_gateway(postroom.deployment.endpoint(gateway))
    except PostroomError as error:
        return Finding(Level.ERROR, subject, str(error))
    except TimeoutError:
        return Finding(Level.ERROR, subject, f"{gateway.host}:{gateway.port} took more than {DEADLINE_S:.0f} s. "
                       "Check host and port, and whether a firewall is in between.")
    if facts.offers_login and not gateway.username:
        return Finding(Level.WARNING, subject, f"{gateway.host}:{gateway.port} answers ({gateway.security}) and offers a login, "
                       "but none is given: it may refuse the mail. Give one: postroom gateway set --username NAME.")
    if ends := gateways.ending(gateway):
        return Finding(Level.WARNING, subject, f"{gateway.host}:{gateway.port} answers ({gateway.security}). {' '.join(ends)}")
    login = ", the login is accepted" if gateway.username else ""
    return Finding(Level.OK, subject, f"{gateway.host}:{gateway.port} answers ({gateway.security}){login}.")
