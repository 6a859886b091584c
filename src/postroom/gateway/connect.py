"""From an endpoint to a session that may take messages: dial, greeting, EHLO, TLS, login.

Promises: TLS (1.2 or newer, the name verified) is in force before a user name or password leaves, but on loopback;
encryption that was asked for is never given up; nothing that was said before the handshake is believed after it; no host is
dialled that the installation does not allow (dialer.py); what a gateway repeats of the login goes no further (secrecy.py).

Fails with one of two errors, both whole sentences with host, port and what was said:

Unavailable
└── GatewayError
    ├── GatewayRefused       the gateway answered, and the answer was no: `phase`, `reply`
    │   └── TokenOutdated    to an access token that was got before
    └── GatewayUnreachable   no usable answer: name, network, time, TLS, garbage: `phase`, `detail`

`verdict` of either says whether to come back later (THROTTLED) or to ask a person (GATEWAY_FAULT).

Source: RFC 5321 (3.1, 4.1.1.1, 4.5.3.2), RFC 3207, RFC 4954, RFC 8314.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import json
import re
import socket
import ssl
from dataclasses import dataclass, field
from typing import Final, Literal, NoReturn

from postroom.errors import InvalidInput, Unavailable
from postroom.gateway.certificates import context_for, presented, why_unproven
from postroom.gateway.conversation import Conversation, Deadlines
from postroom.gateway.dialer import Dialer, NotAllowed
from postroom.gateway.oauth import TOLD_MAX, Token, TokenRefused, Tokens
from postroom.gateway.replies import Phase, Reply, Verdict, accepts, classify, printable
from postroom.gateway.secrecy import Hide, hiding, nothing
from postroom.gateway.tls import Tls
from postroom.points import reach

Security = Literal["implicit", "starttls", "none"]

_SEPARATOR: Final = "\1"  # of XOAUTH2 and OAUTHBEARER
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,253})|\[[A-Za-z0-9.:]{2,60}\]")
_COMMAND_OCTETS_MAX: Final = 510  # without CRLF; a longer first response waits to be asked for (RFC 4954, 4)
_REFUSED: Final = {
    Phase.CONNECT: "the connection",
    Phase.EHLO: "our greeting",
    Phase.STARTTLS: "to encrypt the connection",
    Phase.AUTH: "the user name and password",
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a gateway is and how to get in. Plain text is refused but to this machine itself.

    `allow_plaintext` lifts that for a network of one's own, never for a login. `pipelining=False` speaks command by
    command even where the gateway offers more: for one that lost count before. `dialer` knows which hosts are allowed.
    `ca_certificates` (PEM) vouch for it instead of this machine's. With `tokens` the login is by access token, not by password.
    """

    host: str
    port: int
    security: Security = "implicit"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    helo_name: str = "localhost"
    ssl_context: ssl.SSLContext | None = field(default=None, repr=False)
    allow_plaintext: bool = False
    pipelining: bool = True
    dialer: Dialer = field(default=Dialer(), repr=False)
    ca_certificates: str | None = field(default=None, repr=False)
    tokens: Tokens | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.host or len(self.host) > 253 or any(c <= " " or c == "\x7f" for c in self.host):
            raise InvalidInput("The gateway needs a host name or an IP address.", field="host")
        if not 1 <= self.port <= 65535:
            raise InvalidInput(f"{self.port} is not a port: it must be between 1 and 65535.", field="port")
        if self.security not in ("implicit", "starttls", "none"):
            raise InvalidInput("The security of a gateway is one of implicit, starttls, none.", field="security")
        if not _NAME.fullmatch(self.helo_name):
            raise InvalidInput(f"{self.helo_name!r} is not a name to greet a gateway with.", field="helo_name")
        if (self.username is None) != (self.password is None and self.tokens is None):
            raise InvalidInput("A gateway's user name and password come together or not at all.", field="password")
        if self.password is not None and self.tokens is not None:
            raise InvalidInput("A gateway's login is by password or by token, not by both.", field="password")
        if self.tokens is not None and _SEPARATOR in (self.username or ""):
            raise InvalidInput("A gateway's user name cannot hold a control character.", field="username")
        if "\0" in (self.username or "") + (self.password or ""):
            raise InvalidInput("A gateway's user name and password cannot hold a NUL character.", field="password")
        if self.security == "none" and not self.allow_plaintext and not _is_loopback(self.host):
            raise InvalidInput(
                f"{self.host} is another machine: mail to it would travel unencrypted. Use implicit TLS (port 465) or "
                "STARTTLS (port 587).",
                field="security",
            )

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def hide(self) -> Hide:
        """Takes the login out of whatever the gateway says."""
        return hiding((self.username or "").encode(), self.password.encode()) if self.password else nothing


class GatewayError(Unavailable):
    """A session could not be opened. No recipient is ever failed for that."""

    phase: Phase
    verdict: Verdict


class GatewayRefused(GatewayError):
    """The gateway answered a step of the set-up with a no."""

    def __init__(self, peer: str, phase: Phase, reply: Reply, *, what: str = "", more: str = "") -> None:
        hint = " Check the gateway's settings." if classify(phase, reply) is Verdict.GATEWAY_FAULT else ""
        super().__init__(f"The gateway {peer} refused {what or _REFUSED.get(phase, phase.value)}: “{reply}”{more}.{hint}")
        self.phase = phase
        self.reply = reply
        self.verdict = classify(phase, reply)


class TokenOutdated(GatewayRefused):
    """It refused an access token that was got some time ago, and is kept no longer: another one may do."""


class GatewayUnreachable(GatewayError):
    """There was no usable answer. `verdict` is GATEWAY_FAULT where waiting will not help."""

    def __init__(self, peer: str, phase: Phase, detail: str, verdict: Verdict = Verdict.THROTTLED) -> None:
        super().__init__(f"The gateway {peer} cannot be used: {detail}.")
        self.phase = phase
        self.detail = detail
        self.verdict = verdict


async def establish(endpoint: Endpoint, conversation: Conversation, deadlines: Deadlines) -> dict[str, str]:
    """Connects, secures and logs in. Returns the extensions that the gateway offers, upper case, with their words."""
    setup = _Setup(endpoint, conversation, deadlines)
    try:
        await setup.get_token()
        await setup.dial()
        await setup.step(Phase.CONNECT, None)
        await setup.greet()
        if endpoint.security == "starttls":
            await setup.encrypt()
            await setup.greet()  # what was offered before the handshake may have been forged
        if endpoint.username is not None:
            reach("gateway.before_login")
            await setup.log_in()
            reach("gateway.after_login")
    except BaseException as error:
        conversation.drop(f"the set-up failed: {error}")
        await conversation.wait_closed()
        raise
    return setup.extensions


class _Setup:
    """The steps of the set-up, in the order in which `establish` calls them."""

    def __init__(self, endpoint: Endpoint, conversation: Conversation, deadlines: Deadlines) -> None:
        self.endpoint = endpoint
        self.conversation = conversation
        self.deadlines = deadlines
        self.extensions: dict[str, str] = {}
        self.token: Token | None = None

    async def get_token(self) -> None:
        """Before anything is said to the gateway, which is patient with nobody; from here on it is hidden in what that says."""
        if self.endpoint.tokens is None:
            return
        self.begun_at = asyncio.get_running_loop().time()
        try:
            self.token = await self.endpoint.tokens.current()
        except TokenRefused as refused:
            raise self._unreachable(Phase.AUTH, str(refused), refused.verdict) from None
        self.conversation.hide_what(self.token.hide)

    async def dial(self) -> None:
        host, port = self.endpoint.host, self.endpoint.port
        reach("gateway.before_connect")
        try:
            tls = self._tls() if self.endpoint.security == "implicit" else None
            await self.endpoint.dialer.connect(tls or self.conversation, host, port, self.deadlines.connect_s)
        except NotAllowed as refused:
            raise self._unreachable(Phase.CONNECT, str(refused), Verdict.GATEWAY_FAULT) from None
        except TimeoutError:
            detail = f"no connection within {self.deadlines.connect_s:g} seconds"
            raise self._unreachable(Phase.CONNECT, detail) from None
        except ValueError as error:  # between two dots of a name stand 1 to 63 octets (RFC 1035, 2.3.4)
            detail = f"“{host}” is no host name: a part of it is empty, longer than 63 characters or not text"
            raise self._unreachable(Phase.CONNECT, detail, Verdict.GATEWAY_FAULT) from error
        except socket.gaierror as error:
            raise self._unreachable(Phase.CONNECT, f"its name cannot be resolved ({error.strerror})") from error
        except ConnectionRefusedError as error:
            raise self._unreachable(Phase.CONNECT, "nothing listens on that port (connection refused)") from error
        except OSError as error:
            raise self._unreachable(Phase.CONNECT, f"the connection failed ({error.strerror or error})") from error
        reach("gateway.after_connect")
        if tls is not None:
            await self._secured(tls)

    async def greet(self) -> None:
        await self.step(Phase.EHLO, b"EHLO " + self.endpoint.helo_name.encode("ascii"))
        self.extensions = _extensions(self.conversation.lines[1:])

    async def encrypt(self) -> None:
        """STARTTLS or nothing. A gateway, or somebody between, that says more than "go ahead" is not believed."""
        if "STARTTLS" not in self.extensions:
            detail = "it does not offer STARTTLS, and mail must not go to it unencrypted"
            raise self._unreachable(Phase.STARTTLS, detail, Verdict.GATEWAY_FAULT)
        await self.step(Phase.STARTTLS, b"STARTTLS")
        talk = self.conversation
        if talk.ended:  # more plain text came in the moment after "go ahead"
            raise self._unreachable(Phase.STARTTLS, talk.ended, Verdict.GATEWAY_FAULT)
        tls = self._tls()
        talk._transport.set_protocol(tls)
        tls.connection_made(talk._transport)
        await self._secured(tls)

    async def _secured(self, tls: Tls) -> None:
        try:
            async with asyncio.timeout(self.deadlines.tls_s):
                await tls.secured
        except TimeoutError:
            raise self._unreachable(Phase.STARTTLS, f"no TLS within {self.deadlines.tls_s:g} seconds") from None
        except ssl.SSLError as error:
            raise self._tls_failed(error, tls) from error
        except OSError as error:
            raise self._unreachable(Phase.STARTTLS, f"the connection broke in the TLS handshake ({error})") from error
        reach("gateway.after_tls")

    async def log_in(self) -> None:
        """By token; or AUTH PLAIN, or LOGIN where only that is offered."""
        offered = self._logins()
        if self.token is not None:
            await self._log_in_by(self.token, offered)
            return
        user, password = ((text or "").encode() for text in (self.endpoint.username, self.endpoint.password))
        if "PLAIN" in offered:
            await self.step(Phase.AUTH, await self._command(b"PLAIN", b"\0" + user + b"\0" + password))
        elif "LOGIN" in offered:
            for line in (b"AUTH LOGIN", base64.b64encode(user)):
                await self.step(Phase.AUTH, line, goes_on=True)
            await self.step(Phase.AUTH, base64.b64encode(password))
        else:
            raise self._no_login("PLAIN or LOGIN")

    async def _log_in_by(self, token: Token, offered: list[str]) -> None:
        """AUTH XOAUTH2 (Google's and Microsoft's), or OAUTHBEARER (RFC 7628) where only that is offered."""
        endpoint = self.endpoint
        if "XOAUTH2" in offered:
            mechanism, response, end = b"XOAUTH2", f"user={token.user}\1auth=Bearer {token.value}\1\1", b""
        elif "OAUTHBEARER" in offered:
            user = token.user.replace("=", "=3D").replace(",", "=2C")
            mechanism, end = b"OAUTHBEARER", base64.b64encode(b"\1")
            response = f"n,a={user},\1host={endpoint.host}\1port={endpoint.port}\1auth=Bearer {token.value}\1\1"
        else:
            raise self._no_login("XOAUTH2 or OAUTHBEARER, by access token")
        reply = await self._ask(Phase.AUTH, await self._command(mechanism, response.encode()))
        more = ""
        if reply.code == 334:  # why not, in JSON; the refusal comes once that is acknowledged
            more = self._why_not(self.conversation.lines)
            reply = await self._ask(Phase.AUTH, end)
            if reply.code < 400:
                raise self._unreachable(Phase.AUTH, f"“{reply}” is no answer to a token that was refused{more}")
        if reply.code >= 400:
            self._refuse_token(token, reply, more)
        self._accept(Phase.AUTH, reply)

    def _refuse_token(self, token: Token, reply: Reply, more: str) -> NoReturn:
        """Unless it is only "not now" it is given up: it was taken back, or another one has the rights that this one lacks."""
        assert self.endpoint.tokens is not None
        kind = GatewayRefused
        if classify(Phase.AUTH, reply) is Verdict.GATEWAY_FAULT:
            self.endpoint.tokens.drop(token)
            kind = TokenOutdated if token.got_at < self.begun_at else GatewayRefused
        raise kind(str(self.endpoint), Phase.AUTH, reply, what="the access token", more=more)

    def _logins(self) -> list[str]:
        """The mechanisms that are offered, where a secret may be sent."""
        peer = self.conversation._transport.get_extra_info("peername")
        if self.endpoint.security == "none" and not (peer and _is_loopback(str(peer[0]))):
            detail = "a password would travel to it unencrypted; use implicit TLS or STARTTLS"
            raise self._unreachable(Phase.AUTH, detail, Verdict.GATEWAY_FAULT)
        return self.extensions.get("AUTH", "").upper().split()

    async def _command(self, mechanism: bytes, response: bytes) -> bytes:
        """The line with the response: that of the command itself, or the next one where it would be too long for a command."""
        line = b"AUTH %b %b" % (mechanism, encoded := base64.b64encode(response))
        if len(line) <= _COMMAND_OCTETS_MAX:
            return line
        await self.step(Phase.AUTH, b"AUTH " + mechanism, goes_on=True)
        return encoded

    def _why_not(self, lines: tuple[bytes, ...]) -> str:
        """What the challenge says that refuses a token: JSON with a status, mostly, in base64."""
        try:
            said = base64.b64decode(b"".join(lines), validate=True)
        except ValueError:
            return ""
        try:
            told = ", ".join(f"{key} {value}" for key, value in json.loads(said).items())
        except (ValueError, RecursionError, AttributeError):
            told = said.decode("utf-8", "replace")
        words = printable(self.conversation.hide(" ".join(told.split()).encode("utf-8", "replace")))[:TOLD_MAX]
        return f" ({words})" if words else ""

    def _no_login(self, usable: str) -> GatewayUnreachable:
        told = _extensions(tuple(map(self.conversation.hide, self.conversation.lines[1:]))).get("AUTH", "none")
        detail = f"it offers no login that Postroom can use ({usable}), but “{told}”"
        return self._unreachable(Phase.AUTH, detail, Verdict.GATEWAY_FAULT)

    async def step(self, phase: Phase, line: bytes | None, *, goes_on: bool = False) -> None:
        """Asks, and takes nothing but yes; with `goes_on` the yes is 334, "go on" (RFC 4954)."""
        self._accept(phase, await self._ask(phase, line), goes_on=goes_on)

    async def _ask(self, phase: Phase, line: bytes | None) -> Reply:
        try:
            return await self.conversation.ask(phase, line)
        except ConnectionError as error:
            raise self._unreachable(phase, str(error)) from error

    def _accept(self, phase: Phase, reply: Reply, *, goes_on: bool = False) -> None:
        if reply.code >= 400:
            raise GatewayRefused(str(self.endpoint), phase, reply)
        if (reply.code != 334) if goes_on else not accepts(phase, reply.code):
            raise self._unreachable(phase, f"“{reply}” is no answer to {phase.value}")

    def _tls(self) -> Tls:
        context = self.endpoint.ssl_context or context_for(self.endpoint.ca_certificates)
        return Tls(self.conversation, context, self.endpoint.host)

    def _unreachable(self, phase: Phase, detail: str, verdict: Verdict = Verdict.THROTTLED) -> GatewayUnreachable:
        return GatewayUnreachable(str(self.endpoint), phase, detail, verdict)

    def _tls_failed(self, error: ssl.SSLError, tls: Tls) -> GatewayUnreachable:
        if isinstance(error, ssl.SSLCertVerificationError):
            detail = why_unproven(error, presented(tls.session), self.endpoint.host, self.endpoint.ca_certificates)
        elif error.reason == "WRONG_VERSION_NUMBER":
            detail = "it does not speak TLS on this port; perhaps the port is one for STARTTLS"
        else:
            detail = f"the TLS handshake failed ({error.reason or error})"
        return self._unreachable(Phase.STARTTLS, detail, Verdict.GATEWAY_FAULT)


def _extensions(lines: tuple[bytes, ...]) -> dict[str, str]:
    """The lines of an EHLO reply after the first. Some gateways still write "AUTH=LOGIN" for "AUTH LOGIN"."""
    found: dict[str, str] = {}
    for line in lines:
        keyword, _, words = line.decode("ascii", "replace").replace("AUTH=", "AUTH ").strip().partition(" ")
        found[keyword.upper()] = f"{found.get(keyword.upper(), '')} {words}".strip()
    return found


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
