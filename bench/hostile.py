"""What one account, or nobody at all, can do to a Postroom over HTTP: the attacks of `neighbours.py`, in a process of their own.

Each attack first gets ready what it needs (`ready` on standard output says so), then goes on until its time is over, many at
once, as fast as it is let: after a refusal it tries again in 10 ms. It comes from `ADDRESS`, which is not the neighbour's, so
that a limit by address can tell the two apart. At the end it prints what it was answered and its own CPU as JSON. Bodies are
made once, so that little of the machine goes to making the load.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import resource
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sink import HOST

ADDRESS = "127.0.0.2"
REFUSED_PAUSE_S = 0.01
PIECE_BYTES = 1 << 18
AT_ONCE = 8
MANY = 64
CONNECTIONS = 300
STREAMS = 200
UPLOADS = 4

# Postroom's limits as they are today: a body is as large as they let it be, and what a tighter one refuses is refused.
TEMPLATE_BYTES = 1_040_000
TAGS = 2_000
MARKDOWN_BYTES = 262_144
STYLING_WORK = 49_900_000  # elements times characters of sheets
JSON_BYTES = 21_000_000
SMALL_BYTES = 16 * 1024
ROWS = 1_000_000  # 28 MB of CSV
# Each is an error that the answer is made of, 1.5 KB of the server's memory: as many as fit into JSON_BYTES would be 10 GB.
WRONG_ATTACHMENTS = 400_000

MESSAGE = {"subject": "News", "text": "Hello {{ name }}\n", "from": {"address": "news@club.example", "name": "The Club"}}
JOBS, PREVIEWS = "/api/v1/jobs", "/api/v1/previews"

# -- requests ----------------------------------------------------------------------------------------------------------


def request(method: str, path: str, key: str = "", body: bytes = b"", content_type: str = "application/json") -> bytes:
    """One request to the byte. Its connection is its own: the answer ends where that ends."""
    head = [f"{method} {path} HTTP/1.1", f"Host: {HOST}", "Connection: close"]
    if key:
        head.append(f"Authorization: Bearer {key}")
    if method in ("POST", "PUT"):
        head += [f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + body


@contextlib.asynccontextmanager
async def connected(port: int, address: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(HOST, port, local_addr=(address, 0), limit=PIECE_BYTES)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def ask(port: int, asked: bytes, address: str) -> tuple[int, bytes]:
    """Status and body of the answer, which may come before all was sent. Raises OSError, also where there is none."""
    async with connected(port, address) as (reader, writer):
        sending = asyncio.create_task(_send(writer, asked))
        try:
            answer = await reader.read()
        finally:
            sending.cancel()
    if not answer.startswith(b"HTTP/1.1 "):
        raise ConnectionError("the connection was closed without an answer")
    return int(answer[9:12]), answer.partition(b"\r\n\r\n")[2]


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    view = memoryview(data)
    with contextlib.suppress(OSError):  # whoever reads the answer sees that
        for start in range(0, len(view), PIECE_BYTES):
            writer.write(view[start : start + PIECE_BYTES])
            await writer.drain()


def multipart(*parts: tuple[str, str, bytes]) -> tuple[bytes, str]:
    """A body of parts (name, content type, content), and its own type."""
    body = b"".join(f'--limit\r\nContent-Disposition: form-data; name="{name}"\r\nContent-Type: {kind}\r\n\r\n'.encode()
                    + content + b"\r\n" for name, kind, content in parts)
    return body + b"--limit--\r\n", "multipart/form-data; boundary=limit"


def draft(**message: Any) -> bytes:
    """JSON of a job of one recipient, with these parts of a message."""
    return json.dumps({"message": MESSAGE | message, "recipients": [{"email": "a@list.example", "fields": {"name": "A"}}],
                       "field_policy": "blank"}).encode()


def job_of(count: int, **options: Any) -> bytes:
    rows = [{"email": f"person{number}@list.example", "fields": {"name": f"Person {number}"}} for number in range(count)]
    return json.dumps({"message": MESSAGE, "recipients": rows, **options}).encode()


@dataclass
class Hostile:
    """The installation as whoever attacks it knows it. The account of `unbounded` has a threshold that no list reaches."""

    port: int
    key: str
    unbounded: str
    tarpit: int
    answers: Counter[str] = field(default_factory=Counter)

    def post(self, path: str, body: bytes, content_type: str = "application/json", key: str | None = None) -> bytes:
        return request("POST", path, self.key if key is None else key, body, content_type)

    def get(self, path: str) -> bytes:
        return request("GET", path, self.key)

    async def go(self, asked: bytes) -> tuple[int, bytes]:
        """Ask and count what came of it: (0, nothing) where no answer did."""
        try:
            status, body = await ask(self.port, asked, ADDRESS)
        except OSError:
            status, body = 0, b""
        await self.count(str(status) if status else "no answer", refused=not 200 <= status < 300)
        return status, body

    async def count(self, what: str, *, refused: bool = True) -> None:
        self.answers[what] += 1
        if refused:
            await asyncio.sleep(REFUSED_PAUSE_S)

    async def make_job(self, body: bytes, content_type: str = "application/json") -> int:
        """The number of a new job of the account, needed before an attack begins."""
        status, told = await ask(self.port, self.post(JOBS, body, content_type), ADDRESS)
        if status != 201:
            sys.exit(f"a job was answered with {status}: {told[:500].decode(errors='replace')}")
        return int(json.loads(told)["id"])

    async def make_large_job(self) -> int:
        """A job that waits for approval, of which one page of recipients is 8 MB."""
        rows = "".join(f"person{number}@list.example,{'x' * 16_000}\n" for number in range(500))
        return await self.make_job(*multipart(("message", "application/json", json.dumps({"message": MESSAGE}).encode()),
                                              ("recipients", "text/csv", f"email,name\n{rows}".encode())))


Hand = Coroutine[Any, Any, None]  # goes on for ever


async def asking(at: Hostile, *requests: bytes) -> None:
    """One request after the other, in turn."""
    for each in itertools.cycle(requests):
        await at.go(each)


def hands(at: Hostile, count: int, *requests: bytes) -> list[Hand]:
    """So many at once that ask this, each beginning with another request."""
    return [asking(at, *requests[n % len(requests) :], *requests[: n % len(requests)]) for n in range(count)]


# -- one message -------------------------------------------------------------------------------------------------------


async def expressions(at: Hostile) -> Sequence[Hand]:
    """Templates of as many and as long expressions as there may be, and one that uses its steps."""
    chain = "{{ a" + "|plus:1" * 70 + " }}"
    condition = "{% if a==1" + " or a==1" * 60 + " %}{% endif %}"
    path = "{{ a" + ".b" * 240 + " }}"
    loop = "{% for n in (1..900) %}{{ n|times:7|modulo:5|plus:1|append:'-'|upcase }}{% endfor %}"
    templates = [each * min(TAGS // each.count("{%" if "{%" in each else "{{"), TEMPLATE_BYTES // len(each))
                 for each in (chain, condition, path)]
    return hands(at, AT_ONCE, *(at.post(PREVIEWS, draft(html=each, text=each)) for each in [*templates, loop]))


async def nested_names(at: Hostile) -> Sequence[Hand]:
    """Expressions whose names hold names: {{ a[a[a]] }}."""
    template = ("{{ a" + "[a" * 240 + "]" * 240 + " }}") * (TEMPLATE_BYTES // 727)
    return hands(at, AT_ONCE, at.post(PREVIEWS, draft(html=template)))


async def style_sheets(at: Hostile) -> Sequence[Hand]:
    """Many elements, and sheets that set many properties of each."""
    rule = "*{" + "".join(f"p{number}:0;" for number in range(290)) + "}"
    pages = []
    for elements in (1_000, 15_000):
        sheet = (rule * (STYLING_WORK // len(rule)))[: STYLING_WORK // (elements + 10)]
        pages.append(f"<html><head><style>{sheet}</style></head><body>{'<p>x</p>' * elements}</body></html>")
    return hands(at, AT_ONCE, *(at.post(PREVIEWS, draft(html=page)) for page in pages))


async def markdown(at: Hostile) -> Sequence[Hand]:
    """Brackets that never close, emphasis that never ends, and a table."""
    texts = ("![[" * MARKDOWN_BYTES, "a_*" * MARKDOWN_BYTES, "|a|b|\n|-|-|\n" + "|a|b|\n" * 40_000)
    return hands(at, AT_ONCE, *(at.post(PREVIEWS, draft(markdown=text[:MARKDOWN_BYTES])) for text in texts))


async def mjml(at: Hostile) -> Sequence[Hand]:
    """As many sections, and as many texts, as fit."""
    section, text = "<mj-section><mj-column><mj-text>x</mj-text></mj-column></mj-section>", "<mj-text>x</mj-text>"
    bodies = (section * (TEMPLATE_BYTES // len(section)),
              f"<mj-section><mj-column>{text * (TEMPLATE_BYTES // len(text))}</mj-column></mj-section>")
    return hands(at, AT_ONCE, *(at.post(PREVIEWS, draft(mjml=f"<mjml><mj-body>{body}</mj-body></mjml>")) for body in bodies))


# -- bodies ------------------------------------------------------------------------------------------------------------


async def json_bodies(at: Hostile) -> Sequence[Hand]:
    """Millions of empty lists, at the top and as recipients; lists within lists; errors by the hundred thousand; and a list of
    recipients that is in order."""
    lists = b"[" + b",".join([b"[]"] * (JSON_BYTES // 3)) + b"]"
    message = json.dumps(MESSAGE).encode()
    wrong = message[:-1] + b',"attachments":[' + b",".join([b"[]"] * WRONG_ATTACHMENTS) + b"]}"
    fields = {f"field{n}": "x" * 20 for n in range(50)}
    rows = [{"email": f"person{number}@list.example", "fields": fields} for number in range(9_000)]
    bodies = (lists, b'{"message":' + message + b',"recipients":' + lists + b"}", b"[" * JSON_BYTES,
              b'{"message":' + wrong + b"}", json.dumps({"message": MESSAGE, "recipients": rows}).encode())
    return hands(at, AT_ONCE, *(at.post(path, body) for path in (JOBS, PREVIEWS) for body in bodies))


def _csv(last: bytes = b"") -> bytes:
    return b"email,name\n" + b"".join(b"p%d@list.example,Person %d\n" % (number, number % 1_000) for number in range(ROWS)) + last


def _upload(at: Hostile, rows: bytes, key: str) -> bytes:
    message = json.dumps({"message": MESSAGE}).encode()
    return at.post(JOBS, *multipart(("message", "application/json", message), ("recipients", "text/csv", rows)), key=key)


async def uploads(at: Hostile) -> Sequence[Hand]:
    """Lists of a million that wait for approval, and as many whose last row cannot be read, so that all is thrown away."""
    good, bad = _upload(at, _csv(), at.key), _upload(at, _csv(b"p@list.example,\xff\n"), at.key)
    return [*hands(at, UPLOADS // 2, good), *hands(at, UPLOADS, bad)]


async def unbounded_uploads(at: Hostile) -> Sequence[Hand]:
    """The same where none waits: every message is made before the answer."""
    return hands(at, UPLOADS, _upload(at, _csv(), at.unbounded))


async def unknown_parts(at: Hostile) -> Sequence[Hand]:
    """Multipart bodies of parts that nobody knows."""
    body, kind = multipart(*((f"part{number}", "text/plain", b"x" * 130_000) for number in range(60)))
    small, _ = multipart(*((f"part{number}", "text/plain", b"\n-" * 60_000) for number in range(60)))
    return hands(at, AT_ONCE, *(at.post(path, each, kind) for path in (JOBS, PREVIEWS) for each in (body, small)))


# -- connections -------------------------------------------------------------------------------------------------------


async def _holding(at: Hostile, hold: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> None:
    """One connection, for as long as it is let; then another."""
    while True:
        try:
            async with connected(at.port, ADDRESS) as (reader, writer):
                await hold(reader, writer)
        except OSError:
            await at.count("lost")
        else:
            await at.count("closed")


async def silent(at: Hostile) -> Sequence[Hand]:
    """Connections that say nothing."""
    async def hold(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    return [_holding(at, hold) for _ in range(CONNECTIONS)]


def _trickling(at: Hostile, asked: bytes, at_once: int) -> Hand:
    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(asked[:at_once])
        for octet in asked[at_once:]:
            await asyncio.sleep(1)
            if reader.at_eof():
                return
            writer.write(bytes([octet]))
            await writer.drain()

    return _holding(at, hold)


async def slow_headers(at: Hostile) -> Sequence[Hand]:
    """Headers an octet a second."""
    return [_trickling(at, at.get(JOBS), 1) for _ in range(CONNECTIONS)]


async def slow_bodies(at: Hostile) -> Sequence[Hand]:
    """Bodies an octet a second, with a key and without."""
    job, form = at.post(JOBS, job_of(1)), request("POST", "/u/x", "", b"x" * SMALL_BYTES, "application/x-www-form-urlencoded")
    return [_trickling(at, each, each.index(b"\r\n\r\n") + 5) for each in (job, form) for _ in range(CONNECTIONS // 2)]


async def _unread(at: Hostile, asked: bytes) -> None:
    """Asks, and reads nothing of the answer for as long as the connection stands."""
    loop = asyncio.get_running_loop()
    while True:
        with contextlib.suppress(OSError), socket.socket() as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            raw.setblocking(False)
            raw.bind((ADDRESS, 0))
            await loop.sock_connect(raw, (HOST, at.port))
            await loop.sock_sendall(raw, asked)
            while raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 1:  # noqa: ASYNC110 - established
                await asyncio.sleep(0.5)
        await at.count("closed")


async def unread(at: Hostile) -> Sequence[Hand]:
    """Answers of 8 MB that nobody reads."""
    job = await at.make_large_job()
    return [_unread(at, at.get(f"{JOBS}/{job}/recipients?limit=500")) for _ in range(MANY)]


async def endless_chunks(at: Hostile) -> Sequence[Hand]:
    """Bodies without an end, in chunks as small as may be."""
    head = request("POST", JOBS, at.key).partition(b"Content-Length")[0] + b"Transfer-Encoding: chunked\r\n\r\n"
    large, small = b"%x\r\n%s\r\n" % (200_000, b" " * 200_000), b"9\r\n123456789\r\n" * 10_000

    async def hold(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head + large)
        while not writer.is_closing():
            writer.write(small)
            await writer.drain()

    return [_holding(at, hold) for _ in range(4)]


async def pipelined(at: Hostile) -> Sequence[Hand]:
    """Requests one behind the other on each connection, with as many header lines as fit, by somebody who waits for no answer."""
    asked = (at.get(JOBS).replace(b"Connection: close\r\n", b"a:b\r\n" * 90)) * 100

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reading = asyncio.create_task(count(reader))
        try:
            while not reading.done():
                writer.write(asked)
                await writer.drain()
        finally:
            reading.cancel()

    async def count(reader: asyncio.StreamReader) -> None:
        while answered := await reader.readuntil(b"\r\n\r\n"):
            await at.count(answered.rpartition(b"HTTP/1.1 ")[2][:3].decode(), refused=False)

    return [_holding(at, hold) for _ in range(32)]


def _one_by_one(at: Hostile, asked: Callable[[], bytes]) -> Hand:
    """One request after the other, on a connection that stays."""
    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(asked().replace(b"Connection: close\r\n", b""))
            head = await reader.readuntil(b"\r\n\r\n")
            await at.count(head[9:12].decode(), refused=False)
            length = re.search(rb"(?i)content-length: *([0-9]+)", head)
            if length is None:
                return
            await reader.readexactly(int(length[1]))

    async def hold_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            await hold(reader, writer)

    return _holding(at, hold_on)


async def looks(at: Hostile) -> Sequence[Hand]:
    """Whether it is healthy, without a pause between."""
    return [_one_by_one(at, lambda: request("GET", "/healthz")) for _ in range(CONNECTIONS)]


async def costly_refusals(at: Hostile) -> Sequence[Hand]:
    """What is refused after much work: unknown keys, parameters, lines of the header."""
    job = await at.make_job(job_of(200))
    keys = json.dumps({f"k{n}": 0 for n in range(SMALL_BYTES // 12)}).encode()[:SMALL_BYTES]
    names = "&".join(str(n) for n in range(49))
    asked = (request("PUT", f"{JOBS}/{job}/cancellation", at.key, keys), at.get(f"{JOBS}?{names}"),
             at.get(JOBS).replace(b"Connection: close\r\n", b"a:b\r\n" * 2_500))
    return [_one_by_one(at, partial(next, itertools.cycle(asked))) for _ in range(MANY)]


async def invented_sessions(at: Hostile) -> Sequence[Hand]:
    """Without a session, and with another cookie each time."""
    numbers = itertools.count()

    def asked() -> bytes:
        cookie = f"Cookie: postroom_session=invented-{next(numbers)}\r\n".encode()
        return request("GET", "/accounts/1/jobs").replace(b"Connection: close\r\n", cookie)

    return [_one_by_one(at, asked) for _ in range(CONNECTIONS)]


async def refused(at: Hostile) -> Sequence[Hand]:
    """Far more at once than have a place, each asking again as soon as it was refused."""
    return [_one_by_one(at, lambda: at.get(JOBS)) for _ in range(CONNECTIONS)]


async def event_streams(at: Hostile) -> Sequence[Hand]:
    """Streams of one key: of a job that waits, and of one that is under way for long, because nobody is at its gateway."""
    waits, sent = await at.make_job(job_of(200)), await at.make_job(job_of(99, gateway="tarpit"))

    async def hold(job: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(at.get(f"{JOBS}/{job}/events"))
        while await reader.read(PIECE_BYTES):
            pass

    return [_holding(at, partial(hold, job)) for job in (waits, sent) for _ in range(STREAMS // 2)]


# -- floods ------------------------------------------------------------------------------------------------------------


async def reads(at: Hostile) -> Sequence[Hand]:
    """Pages of 8 MB, and lists of jobs."""
    job = await at.make_large_job()
    return hands(at, MANY, at.get(f"{JOBS}/{job}/recipients?limit=500"), at.get(f"{JOBS}?limit=500"), at.get(f"{JOBS}/{job}"))


async def small_jobs(at: Hostile) -> Sequence[Hand]:
    """Jobs of one."""
    return hands(at, MANY, at.post(JOBS, job_of(1)))


async def decisions(at: Hostile) -> Sequence[Hand]:
    """Jobs that are approved, paused, let go on and cancelled, over and over."""
    made = at.post(JOBS, job_of(100))

    async def decide() -> None:
        while True:
            status, told = await at.go(made)
            if status != 201:
                continue
            job = f"{JOBS}/{json.loads(told)['id']}"
            for method, what in [("PUT", "pause"), ("DELETE", "pause")] * 5 + [("PUT", "approval"), ("PUT", "cancellation")] * 2:
                await at.go(request(method, f"{job}/{what}", at.key))

    return [decide() for _ in range(MANY // 2)]


async def tarpit(at: Hostile) -> Sequence[Hand]:
    """Test messages and jobs of one, through a gateway that takes connections and says nothing."""
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    job = await at.make_job(job_of(200, gateway="tarpit"))
    server = await asyncio.start_server(greet, HOST, at.tarpit)
    test = at.post(f"{JOBS}/{job}/tests", json.dumps({"to": ["office@list.example"]}).encode())
    return [server.serve_forever(), *hands(at, MANY, test, at.post(JOBS, job_of(1, gateway="tarpit")))]


async def forms_of_nobody(at: Hostile) -> Sequence[Hand]:
    """Without a key: the form to unsubscribe, of as many parts as fit."""
    parts, kind = multipart(*((str(number), "text/plain", b"") for number in range(SMALL_BYTES // 80)))
    fields = b"&".join([b"a=1"] * (SMALL_BYTES // 4))
    one, _ = multipart(("List-Unsubscribe", "text/plain", b"\r\n-" * (SMALL_BYTES // 4)))
    bodies = parts[: SMALL_BYTES - 11] + b"--limit--\r\n", one[:SMALL_BYTES]
    forms = [request("POST", "/u/x", "", each, kind) for each in bodies]
    return hands(at, MANY, *forms, request("POST", "/u/x", "", fields, "application/x-www-form-urlencoded"))


async def strangers(at: Hostile) -> Sequence[Hand]:
    """Without a key, or with a wrong one: links to sign in that do not work, and addresses that are not there."""
    return hands(at, MANY, request("GET", "/sign-in?token=" + "x" * 43), request("GET", "/nothing/here"), request("GET", "/u/x"),
                 request("GET", JOBS, "postroom_" + "x" * 43))


async def nothing(at: Hostile) -> Sequence[Hand]:
    """Quiet: what the neighbour measures alone."""
    return [asyncio.sleep(3600)]


ATTACKS: dict[str, Callable[[Hostile], Awaitable[Sequence[Hand]]]] = {
    "nothing": nothing, "expressions": expressions, "nested names": nested_names, "style sheets": style_sheets,
    "Markdown": markdown, "MJML": mjml, "JSON bodies": json_bodies, "uploads": uploads, "unbounded uploads": unbounded_uploads,
    "unknown parts": unknown_parts, "silent": silent, "slow headers": slow_headers, "slow bodies": slow_bodies,
    "unread": unread, "endless chunks": endless_chunks, "pipelined": pipelined, "health": looks,
    "costly refusals": costly_refusals, "invented sessions": invented_sessions, "refused": refused,
    "event streams": event_streams, "reads": reads, "small jobs": small_jobs, "decisions": decisions,
    "tarpit": tarpit, "forms of nobody": forms_of_nobody, "strangers": strangers}


async def attack(name: str, seconds: float, at: Hostile) -> float:
    """The share of a core that it took here, getting ready not counted."""
    going = await ATTACKS[name](at)
    print("ready", flush=True)
    began, cpu = time.monotonic(), time.process_time()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(*going)
    return (time.process_time() - cpu) / (time.monotonic() - began)


def main() -> None:
    """The process: what to do is JSON on its standard input."""
    told = json.loads(sys.stdin.readline())
    files_max = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files_max, files_max))
    at = Hostile(told["port"], told["key"], told["unbounded"], told["tarpit"])
    cores = asyncio.run(attack(told["attack"], told["seconds"], at))
    print(json.dumps({"answers": at.answers, "cores": cores}), flush=True)
