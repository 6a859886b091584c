"""A token endpoint on loopback, by HTTP within TLS: it gives tokens to who knows its secret, or says what it is told to say."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

import trustme

AUTHORITY = trustme.CA()
CA_PEM = AUTHORITY.cert_pem.bytes().decode()
SECRET = "client.secret~Qx7"
LONG = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9." + "c3ViamVjdC1vZi10aGUtdG9rZW4tAbCdEf" * 60  # as long as Microsoft's


@dataclass
class TokenEndpoint:
    """`asked` are the forms so far. With `answer` (status, body) it says only that; with `refreshes` it gives a new refresh token
    with each token; with `silent` it never answers."""

    tokens: dict[str, str]  # of the gateway: user by token
    user: str = "club@club.example"
    url: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)
    answer: tuple[int, bytes] | None = None
    life_s: object = 3600
    refreshes: bool = False
    silent: bool = False

    def said(self, form: dict[str, str]) -> tuple[int, bytes]:
        if self.answer is not None:
            return self.answer
        if form.get("client_secret") != SECRET:
            why = {"error": "invalid_client", "error_description": f"Wrong: {form.get('client_secret')}"}
            return 401, json.dumps(why).encode()
        token = f"{LONG}.{len(self.asked)}"
        self.tokens[token] = self.user
        renewed = {"refresh_token": f"refresh-{len(self.asked)}"} if self.refreshes else {}
        return 200, json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": self.life_s, **renewed}).encode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            form = dict(parse_qsl((await reader.readexactly(length)).decode()))
            self.asked.append(form)
            if self.silent:
                await reader.read()
            status, body = self.said(form)
            writer.write(b"HTTP/1.1 %d Said\r\nContent-Type: application/json\r\nContent-Length: %d\r\nLocation: /elsewhere\r\n"
                         b"Connection: close\r\n\r\n%b" % (status, len(body), body))
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def token_endpoint(tokens: dict[str, str]) -> AsyncIterator[TokenEndpoint]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("localhost").configure_cert(context)
    endpoint = TokenEndpoint(tokens)
    server = await asyncio.start_server(endpoint.serve, "127.0.0.1", 0, ssl=context)
    endpoint.url = f"https://localhost:{server.sockets[0].getsockname()[1]}/tenant/oauth2/v2.0/token"
    try:
        yield endpoint
    finally:
        server.close()
