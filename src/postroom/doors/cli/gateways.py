"""`postroom gateway`: the mail servers of an account, how they are logged in to, and who vouches for them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from postroom.doors.cli.setup import yes_or_no
from postroom.doors.cli.terminal import (
    AccountOption,
    JsonOption,
    acting_in,
    asked_password,
    err,
    group,
    out,
    plain,
    print_json,
    table,
    with_postroom,
)
from postroom.doors.wiring import Postroom
from postroom.errors import InvalidInput
from postroom.flow.account import gateways
from postroom.flow.account.gateways import PEM_MAX, Gateway, Grant, Limits, Login

gateway_app = group("Gateways: the mail servers that an account hands its mail to.")

UsernameOption = Annotated[str | None, typer.Option(help="The login, if it wants one. The password is asked for.")]
PasswordStdinOption = Annotated[bool, typer.Option(
    "--password-stdin", help="Read the password, or each secret that is asked for, from a line of standard input.")]
TokenUrlOption = Annotated[str | None, typer.Option(
    metavar="URL", help="The login is by access token (XOAUTH2), asked for at this https: address. The secrets are asked for.")]
ClientIdOption = Annotated[str | None, typer.Option(metavar="ID", help="Of this client at --token-url.")]
ScopeOption = Annotated[str, typer.Option(metavar="TEXT", help="What tokens are asked for, if --token-url wants to be told.")]
RefreshTokenOption = Annotated[bool, typer.Option(
    "--refresh-token", help="Tokens are got by a refresh token, which is asked for, and not by the client's secret alone.")]
ClientSecretOption = Annotated[bool, typer.Option(
    "--client-secret/--no-client-secret", help="Whether the client has a secret; one with a refresh token may have none.")]
CaFileOption = Annotated[Path | None, typer.Option(
    metavar="FILE", help="CA certificates (PEM) that vouch for it, instead of those of each machine.")]


class Security(StrEnum):
    IMPLICIT = "implicit"
    STARTTLS = "starttls"
    NONE = "none"


@gateway_app.command("create")
def create_gateway(
    host: Annotated[str, typer.Option(help="The mail server's name or address.")],
    account: AccountOption = None,
    name: Annotated[str, typer.Option(help="What to call it; the first gateway of an account is its default.")] = "main",
    port: Annotated[int | None, typer.Option(help="By default 465 (implicit), 587 (starttls) or 25 (none).")] = None,
    security: Annotated[Security, typer.Option(
        help="none is refused beyond this machine; see `postroom settings`.")] = Security.IMPLICIT,
    username: UsernameOption = None,
    password_stdin: PasswordStdinOption = False,
    token_url: TokenUrlOption = None,
    client_id: ClientIdOption = None,
    scope: ScopeOption = "",
    refresh_token: RefreshTokenOption = False,
    client_secret: ClientSecretOption = True,
    ca_file: CaFileOption = None,
    connections: Annotated[int, typer.Option(help="Sessions at once, at most.")] = 10,
    signs_dkim: Annotated[bool, typer.Option(
        "--signs-dkim", help="It signs for the From domain by itself, as hosted services do.")] = False,
    per_second: Annotated[float | None, typer.Option(help="Messages a second, at most, by all workers together.")] = None,
    per_connection: Annotated[int | None, typer.Option(help="Messages on one connection, at most.")] = None,
    daily_quota: Annotated[int | None, typer.Option(help="Messages in a day (UTC), at most.")] = None,
    warm_up_from: Annotated[int | None, typer.Option(
        help="Messages on the first day, at most, and each day twice as many as the day before: for a new sender.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Correct the gateway of this name: it gets all of these.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Create a gateway, or correct one. The password is never an argument, where other users of the machine could read it.

    Example: `postroom gateway create --host smtp.example.com --username club`
    """
    login = _login(username, token_url, client_id, scope, password_stdin, by_refresh=refresh_token, has_secret=client_secret)
    ca_certificates = _pem(ca_file)

    async def act(postroom: Postroom) -> tuple[int, list[Gateway]]:
        actor = await acting_in(postroom, account)
        await postroom.deployment.look_up(host, port or gateways.PORTS[security.value])
        made = await gateways.create_gateway(
            postroom.pool, postroom.secrets, actor, name=name, host=host, port=port, security=security.value,
            username=username, password=login.password if login else None, grant=login.grant if login else None,
            ca_certificates=ca_certificates, connections=connections, signs_dkim=signs_dkim,
            limits=Limits(messages_per_s=per_second, messages_per_connection=per_connection, daily_quota=daily_quota,
                          warm_up_from=warm_up_from),
            replace=replace)
        return made, await gateways.gateways(postroom.pool, actor)

    made, every = with_postroom(act)
    gateway = next(one for one in every if one.id == made)
    if as_json:
        print_json(_gateway_shown(gateway))
    else:
        out().print(f"Gateway {plain(gateway.name)} is there: {plain(gateway.host)}:{gateway.port}, {gateway.security}. "
                    "Try it: postroom check.", soft_wrap=True)
    _warn_of_ends(gateway)


@gateway_app.command("set")
def set_gateway(
    account: AccountOption = None,
    name: Annotated[str, typer.Option(help="Which one.")] = "main",
    username: UsernameOption = None,
    password_stdin: PasswordStdinOption = False,
    token_url: TokenUrlOption = None,
    client_id: ClientIdOption = None,
    scope: ScopeOption = "",
    refresh_token: RefreshTokenOption = False,
    client_secret: ClientSecretOption = True,
    ca_file: CaFileOption = None,
    no_ca: Annotated[bool, typer.Option("--no-ca", help="The certificates of each machine vouch for it again.")] = False,
    signs_dkim: Annotated[bool | None, typer.Option(
        "--signs-dkim/--no-signs-dkim", help="Whether it signs for the From domain by itself.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Change what is given of a gateway: its login, its CA certificates. The rest stays; jobs that wait for it go on with these.

    Example: `postroom gateway set --ca-file ca.pem`
    """
    login = _login(username, token_url, client_id, scope, password_stdin, by_refresh=refresh_token, has_secret=client_secret)
    if no_ca and ca_file is not None:
        raise InvalidInput("Give either --ca-file or --no-ca.", field="no_ca")
    ca_certificates = "" if no_ca else _pem(ca_file)
    if login is None and ca_certificates is None and signs_dkim is None:
        raise InvalidInput("Say what to change: --username, --ca-file, --no-ca or --signs-dkim.", field="name")

    async def act(postroom: Postroom) -> Gateway:
        return await gateways.change_gateway(postroom.pool, postroom.secrets, await acting_in(postroom, account), name,
                                             ca_certificates=ca_certificates, login=login, signs_dkim=signs_dkim)

    gateway = with_postroom(act)
    if as_json:
        print_json(_gateway_shown(gateway))
    else:
        out().print(f"Gateway {plain(gateway.name)} is set: {_how_it_is_known(gateway)}. Try it: postroom check.", soft_wrap=True)
    _warn_of_ends(gateway)


def _login(username: str | None, token_url: str | None, client_id: str | None, scope: str, from_stdin: bool, *,
           by_refresh: bool, has_secret: bool) -> Login | None:
    """Raises InvalidInput."""
    if token_url is None:
        if client_id is not None or scope or by_refresh:
            raise InvalidInput("Access tokens need to be asked for somewhere: give --token-url too.", field="token_url")
        return None if username is None else Login(username, asked_password(from_stdin))
    if username is None:
        raise InvalidInput("A login by access token needs a --username, which is the mailbox that it is for.", field="username")
    client_secret = asked_password(from_stdin, "client secret") if has_secret else None
    refresh_token = asked_password(from_stdin, "refresh token") if by_refresh else None
    return Login(username, grant=Grant(token_url, client_id or "", client_secret, refresh_token, scope))


def _pem(path: Path | None) -> str | None:
    """Enough of a file that is too large for it to be refused for that. Raises InvalidInput."""
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            pem = file.read(PEM_MAX + 1).decode("ascii", "replace")
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.", field="ca_file") from None
    if not pem.strip():
        raise InvalidInput(f"{path} is empty.", field="ca_file")
    return pem


def _warn_of_ends(gateway: Gateway) -> None:
    for warning in gateways.ending(gateway):
        err().print(plain(warning), style="bold", soft_wrap=True)


def _how_it_is_known(gateway: Gateway) -> str:
    login = "no login" if gateway.username is None else f"a login by {_login_shown(gateway)}"
    own = len(gateways.vouching(gateway))
    return f"{login}, {own} CA certificate{'s' if own != 1 else ''} of its own"


@gateway_app.command("list")
def list_gateways(account: AccountOption = None, as_json: JsonOption = False) -> None:
    """List an account's gateways; the first is its default. Passwords are never shown."""

    async def act(postroom: Postroom) -> list[Gateway]:
        return await gateways.gateways(postroom.pool, await acting_in(postroom, account))

    every = with_postroom(act)
    if as_json:
        print_json([_gateway_shown(one) for one in every])
        return
    listed = table("Name", "Host", "Port#", "Security", "Username", "Login", "Own CA", "Connections#", "Limits", "Signs DKIM")
    for one in every:
        listed.add_row(plain(one.name), plain(one.host), str(one.port), one.security, plain(one.username or ""),
                       _login_shown(one), yes_or_no(one.ca_certificates is not None),
                       str(one.connections), _limits(one), yes_or_no(one.signs_dkim))
    out().print(listed if every else "The account has no gateway yet. Create one: postroom gateway create.")


def _limits(limits: Limits) -> str:
    told = [(limits.messages_per_s, "{:g} a second"), (limits.messages_per_connection, "{:,} a connection"),
            (limits.daily_quota, "{:,} a day"), (limits.warm_up_from, "warm-up from {:,}")]
    return ", ".join(text.format(value) for value, text in told if value is not None) or "none"


def _login_shown(gateway: Gateway) -> str:
    return "token" if gateway.oauth else "password" if gateway.username else "none"


def _gateway_shown(gateway: Gateway) -> dict[str, object]:
    return {"id": gateway.id, "name": gateway.name, "host": gateway.host, "port": gateway.port, "security": gateway.security,
            "username": gateway.username, "login": _login_shown(gateway),
            "ca_certificates": [{"name": one.name, "ends_at": one.ends_at.isoformat()} for one in gateways.vouching(gateway)],
            "connections": gateway.connections, "signs_dkim": gateway.signs_dkim,
            "messages_per_s": gateway.messages_per_s, "messages_per_connection": gateway.messages_per_connection,
            "daily_quota": gateway.daily_quota, "warm_up_from": gateway.warm_up_from}
