"""One conversation of the sandbox gateway: the server's side of SMTP (RFC 5321) on an asyncio transport.

                 EHLO              MAIL              RCPT               DATA
    greeted ----------> ready ----------> sender ----------> recipients ----------> content
                          ^                 |                     |                    |
                          +---- RSET -------+---------------------+------- dot --------+

It promises one reply per command, with an enhanced code where the protocol has one; a state that a refused command
leaves as it was, so that a client which does not look meets 503, as with real servers; and that a message is recorded
before its 250 leaves. Every phase is answered as the sandbox's script says, else by the rules of the protocol.
It fails as its wire does, by hanging up (`wire`).
"""

from __future__ import annotations

import re
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import ClassVar, Final

from postroom.gateway.sandbox.mailbox import Mailbox
from postroom.gateway.sandbox.script import Verdict
from postroom.gateway.sandbox.wire import COMMAND_BYTES_MAX, RESPONSE_BYTES_MAX, Wire

# Enough of a message to find its header block; more is only held where contents are kept.
HEAD_BYTES_MAX: Final = 1 << 16
RECIPIENTS_MAX: Final = 100

_OK: Final = b"250 2.0.0 Ok\r\n"
_SENDER_OK: Final = b"250 2.1.0 Ok\r\n"
_RECIPIENT_OK: Final = b"250 2.1.5 Ok\r\n"
_GO_AHEAD: Final = b"354 End data with <CR><LF>.<CR><LF>\r\n"
_AUTHENTICATED: Final = b"235 2.7.0 Authentication successful\r\n"
_WRONG_CREDENTIALS: Final = b"535 5.7.8 Authentication credentials invalid\r\n"
_NO_GOOD_TOKEN: Final = b'{"status":"401","schemes":"bearer","scope":"https://sandbox.invalid/smtp"}'
_BEARER: Final = re.compile(rb"(?:user=(?P<user>[^\x01]+)|n,a=(?P<escaped>[^\x01,]+),)(?:\x01(?:host|port)=[^\x01]*)*"
                            rb"\x01auth=Bearer (?P<token>[^\x01]+)\x01\x01", re.IGNORECASE)
_TOO_BIG: Final = b"552 5.3.4 Message size exceeds fixed maximum message size\r\n"
_TOO_MANY_CONNECTIONS: Final = b"421 4.7.0 Too many connections\r\n"
_TOO_MANY_MESSAGES: Final = b"421 4.7.0 Too many messages on this connection\r\n"

_PATH: Final = rb':[ ]?<([^<>\s"]*|"(?:[^"\\\r\n]|\\.)*"@[^<>\s]+)>((?: +[^ ]+)*) *'
_FROM: Final = re.compile(rb"FROM" + _PATH, re.IGNORECASE)
_TO: Final = re.compile(rb"TO" + _PATH, re.IGNORECASE)


class Session(Wire):
    """The protocol of one connection. It belongs to one sandbox, whose mailbox holds script, record and counts."""

    def __init__(self, sandbox: Mailbox, *, secure: bool) -> None:
        super().__init__(secure=secure)
        self._sandbox = sandbox
        self._number = 0
        self._messages = 0
        self._challenged: Callable[[bytes], None] | None = None
        self._greeted = False
        self._authenticated = False
        self._refused_service = False
        self._sender: str | None = None
        self._utf8 = False  # the transaction was begun with SMTPUTF8
        self._recipients: list[str] = []
        self._mail_t = 0.0

    # ---- what the wire asks

    def _opened(self) -> None:
        sandbox = self._sandbox
        self._number = sandbox.joined(self)
        if not sandbox.open:
            # Its TLS handshake ended after the sandbox had closed.
            self.abort()
            return
        limit = sandbox.script.connections_max
        if limit is not None and sandbox.connections > limit:
            self._say(_TOO_MANY_CONNECTIONS)
            return
        verdict = sandbox.run.verdict("connect")
        self._refused_service = verdict is not None
        self._conclude("connect", verdict, sandbox.greeting)
        self._flush()

    def _closed(self) -> None:
        self._sandbox.left(self)

    def _forget(self) -> None:
        self._greeted = self._authenticated = False
        self._forget_transaction()

    def _take_line(self, line: bytes) -> None:
        if self._challenged is not None:
            self._challenged(line)
            return
        verb, _, argument = line.partition(b" ")
        verb = verb.upper()
        command = self._COMMANDS.get(verb)
        if command is None:
            self._say(b"500 5.5.2 Command unrecognized\r\n")
        elif b"\n" in argument or b"\r" in argument or b"\0" in argument:
            self._say(b"501 5.5.2 Stray CR, LF or NUL in a command\r\n")
        elif self._refused_service and verb != b"QUIT":
            self._say(b"503 5.5.1 No service here\r\n")
        else:
            command(self, argument)

    def _take_message(self, content: bytes, size: int) -> None:
        sandbox = self._sandbox
        sender, recipients = self._sender or "", tuple(self._recipients)
        verdict = Verdict(_TOO_BIG) if size > sandbox.script.size_max else sandbox.run.verdict("dot", recipients)
        good = _OK
        if verdict is None or verdict.accepted:
            try:
                good = sandbox.accept(sender, recipients, content, size, self._mail_t, self._number)
                self._messages += 1
            except OSError as error:
                verdict = Verdict(f"452 4.3.1 Not recorded: {error.strerror or error}\r\n".encode("ascii", "replace"))
        self._conclude("dot", verdict, good, recipients, content, size)
        self._forget_transaction()

    def _conclude(self, phase: str, verdict: Verdict | None, good: bytes, recipients: tuple[str, ...] = (), content: bytes = b"",
                  size: int = 0) -> None:
        """The reply, and before it the record of whom it refuses."""
        if recipients and verdict is not None and verdict.reply and not verdict.accepted:
            self._sandbox.refuse(self._sender or "", recipients, content, size, self._mail_t, self._number, verdict.reply)
        self._answer(good if verdict is None else verdict.reply, self._sandbox.run.delays_s[phase])

    def _forget_transaction(self) -> None:
        self._sender = None
        self._recipients = []

    # ---- commands: before mail

    def _ehlo(self, argument: bytes) -> None:
        self._greet(argument, self._sandbox.extensions(secure=self._secure))

    def _helo(self, argument: bytes) -> None:
        self._greet(argument, b"250 sandbox.invalid\r\n")

    def _greet(self, argument: bytes, good: bytes) -> None:
        if not argument.strip():
            self._say(b"501 5.5.4 Say your name\r\n")
            return
        verdict = self._sandbox.run.verdict("ehlo")
        if verdict is None:
            self._greeted = True
            self._forget_transaction()
        self._conclude("ehlo", verdict, good)

    def _starttls(self, argument: bytes) -> None:
        if self._sandbox.tls is None or self._sandbox.implicit_tls:
            self._say(b"502 5.5.1 TLS not offered\r\n")
        elif self._secure:
            self._say(b"503 5.5.1 TLS already active\r\n")
        elif argument.strip():
            self._say(b"501 5.5.4 STARTTLS takes no argument\r\n")
        else:
            self._start_tls(self._sandbox.tls)

    def _auth(self, argument: bytes) -> None:
        mechanism, _, initial = argument.partition(b" ")
        mechanism = mechanism.upper()
        if not self._sandbox.mechanisms:
            self._say(b"502 5.5.1 AUTH not offered\r\n")
        elif not self._greeted or self._authenticated or self._sender is not None:
            self._say(b"503 5.5.1 AUTH out of order\r\n")
        elif self._sandbox.tls is not None and not self._secure:
            self._say(b"538 5.7.11 Encryption required for authentication\r\n")
        elif mechanism.decode("ascii", "replace") not in self._sandbox.mechanisms:
            self._say(b"504 5.5.4 Mechanism not offered\r\n")
        elif mechanism == b"PLAIN":
            self._challenge(b"", self._plain, initial)
        elif mechanism == b"LOGIN":
            self._challenge(b"VXNlcm5hbWU6", self._login_user, initial)
        else:
            self._challenge(b"", self._bearer, initial)

    def _challenge(self, text: bytes, then: Callable[[bytes], None], initial: bytes = b"") -> None:
        """Have `then` called with the decoded response: the initial one, or the client's next line."""

        def take(line: bytes) -> None:
            self._challenged, self._line_max = None, COMMAND_BYTES_MAX
            if line == b"*":
                self._say(b"501 5.7.0 Authentication cancelled\r\n")
                return
            try:
                decoded = b64decode(b"" if line == b"=" else line, validate=True)
            except ValueError:
                self._say(b"501 5.5.2 Not base64\r\n")
                return
            then(decoded)

        if initial:
            take(initial)
        else:
            self._challenged, self._line_max = take, RESPONSE_BYTES_MAX
            self._say(b"334 " + text + b"\r\n")

    def _plain(self, response: bytes) -> None:
        _, _, pair = response.partition(b"\0")
        user, _, password = pair.partition(b"\0")
        self._authenticate(user, password)

    def _login_user(self, user: bytes) -> None:
        self._challenge(b"UGFzc3dvcmQ6", lambda password: self._authenticate(user, password))

    def _bearer(self, response: bytes) -> None:
        """XOAUTH2, or OAUTHBEARER (RFC 7628). A token that is not taken is told so in a challenge first."""
        said = _BEARER.fullmatch(response)
        user = said and (said["user"] or said["escaped"].replace(b"=2C", b",").replace(b"=3D", b"="))
        if said and user and (self._sandbox.tokens or {}).get(said["token"].decode("ascii", "replace")) == user.decode():
            self._conclude_login(self._sandbox.run.verdict("auth"))
        else:
            self._challenge(b64encode(_NO_GOOD_TOKEN), lambda _: self._conclude_login(Verdict(_WRONG_CREDENTIALS)))

    def _authenticate(self, user: bytes, password: bytes) -> None:
        assert self._sandbox.credentials is not None
        verdict = self._sandbox.run.verdict("auth")
        if verdict is None and (user, password) != tuple(part.encode() for part in self._sandbox.credentials):
            verdict = Verdict(_WRONG_CREDENTIALS)
        self._conclude_login(verdict)

    def _conclude_login(self, verdict: Verdict | None) -> None:
        self._authenticated = verdict is None
        self._conclude("auth", verdict, _AUTHENTICATED)

    # ---- commands: a mail transaction

    def _mail(self, argument: bytes) -> None:
        sandbox = self._sandbox
        if not self._greeted:
            self._say(b"503 5.5.1 Say EHLO first\r\n")
        elif sandbox.mechanisms and not self._authenticated:
            self._say(b"530 5.7.0 Authentication required\r\n")
        elif self._sender is not None:
            self._say(b"503 5.5.1 Sender already specified\r\n")
        elif (found := _FROM.fullmatch(argument)) is None:
            self._say(b"501 5.1.7 Syntax: MAIL FROM:<address>\r\n")
        elif refusal := (self._parameter_refusal(found[2]) or _address_refusal(found[1], utf8=_asks_for_utf8(found[2]))):
            self._say(refusal)
        else:
            limit = sandbox.script.messages_per_connection_max
            if limit is not None and self._messages >= limit:
                self._say(_TOO_MANY_MESSAGES)
                return
            sender = found[1].decode()
            self._mail_t = sandbox.mail_at = time.time()
            verdict = sandbox.run.verdict("mail", (sender,))
            if verdict is None:
                self._sender = sender
                self._utf8 = _asks_for_utf8(found[2])
            self._conclude("mail", verdict, _SENDER_OK)

    def _parameter_refusal(self, parameters: bytes) -> bytes:
        for parameter in parameters.split():
            key, _, value = parameter.upper().partition(b"=")
            if key == b"SIZE" and value.isdigit() and len(value) <= 20:
                if int(value) > self._sandbox.script.size_max:
                    return _TOO_BIG
            elif key == b"SIZE" or (key == b"BODY" and value not in (b"7BIT", b"8BITMIME")):
                return b"501 5.5.4 Parameter value not understood\r\n"
            elif parameter.upper() == b"SMTPUTF8" and self._sandbox.script.utf8:
                continue
            elif key not in (b"BODY", b"AUTH"):
                return b"555 5.5.4 Parameter not offered\r\n"
        return b""

    def _rcpt(self, argument: bytes) -> None:
        if self._sender is None:
            self._say(b"503 5.5.1 Say MAIL first\r\n")
        elif (found := _TO.fullmatch(argument)) is None or not found[1]:
            self._say(b"501 5.1.3 Syntax: RCPT TO:<address>\r\n")
        elif refusal := (_address_refusal(found[1], utf8=self._utf8) or (found[2] and b"555 5.5.4 Parameter not offered\r\n")):
            self._say(refusal)
        elif len(self._recipients) >= RECIPIENTS_MAX:
            self._say(b"452 4.5.3 Too many recipients\r\n")
        else:
            recipient = found[1].decode()
            verdict = self._sandbox.run.verdict("rcpt", (recipient,))
            if verdict is None:
                self._recipients.append(recipient)
            self._conclude("rcpt", verdict, _RECIPIENT_OK, (recipient,))

    def _data(self, argument: bytes) -> None:
        if argument.strip():
            self._say(b"501 5.5.4 DATA takes no argument\r\n")
        elif self._sender is None:
            self._say(b"503 5.5.1 Say MAIL first\r\n")
        elif not self._recipients:
            self._say(b"503 5.5.1 No valid recipients\r\n")
        else:
            sandbox = self._sandbox
            verdict = sandbox.run.verdict("data", tuple(self._recipients))
            if verdict is None:
                self._expect_content(sandbox.script.size_max if sandbox.keeps_content else HEAD_BYTES_MAX)
            self._conclude("data", verdict, _GO_AHEAD, tuple(self._recipients))

    # ---- commands: at any time

    def _rset(self, _argument: bytes) -> None:
        self._forget_transaction()
        self._say(_OK)

    def _noop(self, _argument: bytes) -> None:
        self._say(_OK)

    def _vrfy(self, argument: bytes) -> None:
        if argument.strip():
            self._say(b"252 2.1.5 Cannot verify, but will take a message\r\n")
        else:
            self._say(b"501 5.5.4 Syntax: VRFY address\r\n")

    def _quit(self, _argument: bytes) -> None:
        self._say(b"221 2.0.0 Bye\r\n")
        self._hang_up()

    _COMMANDS: ClassVar[dict[bytes, Callable[[Session, bytes], None]]] = {
        b"EHLO": _ehlo,
        b"HELO": _helo,
        b"STARTTLS": _starttls,
        b"AUTH": _auth,
        b"MAIL": _mail,
        b"RCPT": _rcpt,
        b"DATA": _data,
        b"RSET": _rset,
        b"NOOP": _noop,
        b"VRFY": _vrfy,
        b"QUIT": _quit,
    }


def _asks_for_utf8(parameters: bytes) -> bool:
    return b"SMTPUTF8" in parameters.upper().split()


def _address_refusal(address: bytes, *, utf8: bool) -> bytes:
    """Why this address cannot be taken, or nothing. The empty sender is taken; an empty recipient is met before."""
    if not address.isascii() and not utf8:
        return b"553 5.6.7 Address is not ASCII and SMTPUTF8 was not asked for\r\n"
    if not _is_utf8(address):
        return b"501 5.1.3 Address is not UTF-8\r\n"
    if address and (b"@" not in address[1:-1]) and address.lower() != b"postmaster":
        return b"501 5.1.3 Address has no domain\r\n"
    return b""


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True
