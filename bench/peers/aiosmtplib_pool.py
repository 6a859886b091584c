"""Peer: aiosmtplib with a pool of persistent connections.

It is fed ready bytes, or with --compose renders with Jinja2 into an EmailMessage for each recipient, as its
documentation shows. With --uvloop it runs on uvloop.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from email.message import EmailMessage

import aiosmtplib
import jinja2
import uvloop
from peer import arguments, own_cpu_seconds, print_run

import sample

Compose = Callable[[int], EmailMessage]


def composer() -> Compose:
    plain = jinja2.Environment(autoescape=False)
    html = jinja2.Environment(autoescape=True).from_string(sample.HTML)
    subject, text = plain.from_string(sample.SUBJECT), plain.from_string(sample.TEXT)

    def compose(index: int) -> EmailMessage:
        fields = sample.values(index)
        message = EmailMessage()
        message["From"] = f"{sample.SENDER_NAME} <{sample.SENDER}>"
        message["To"] = sample.address(index)
        message["Subject"] = subject.render(fields)
        message.set_content(text.render(fields))
        message.add_alternative(html.render(fields), subtype="html")
        return message

    return compose


async def connection(host: str, port: int, indexes: Iterator[int], compose: Compose | None) -> None:
    """One connection of the pool: takes the next recipient until none is left."""
    ready = sample.ready_message()
    async with aiosmtplib.SMTP(hostname=host, port=port, start_tls=False) as smtp:
        for index in indexes:
            if compose is None:
                await smtp.sendmail(sample.SENDER, [sample.address(index)], ready)
            else:
                await smtp.send_message(compose(index))


async def main() -> None:
    options = arguments(__doc__, "compose", "uvloop")
    compose = composer() if options.compose else None
    indexes = iter(range(options.count))
    cpu_before, started = own_cpu_seconds(), time.perf_counter()
    async with asyncio.TaskGroup() as pool:
        for _ in range(options.connections):
            pool.create_task(connection(options.host, options.port, indexes, compose))
    print_run(options.count, time.perf_counter() - started, own_cpu_seconds() - cpu_before)


if __name__ == "__main__":
    uvloop.run(main()) if "--uvloop" in sys.argv else asyncio.run(main())
