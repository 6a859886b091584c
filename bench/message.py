"""What a personalised message costs: compiled once and joined, against the standard library building the same.

Both make the bench's sample message (multipart/alternative, 14 personal values, each in text and HTML, some outside ASCII) at
2, 10 and 50 KB, for recipients whose values differ. One core, CPU time, in turns within the same seconds. EmailMessage is given
text that is already filled in by plain `str` operations, so what it is measured at is building the message alone.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP

import sample
from harness import Figure, report
from postroom.message.compile import Stamp
from postroom.message.compile import compile as compile_message
from postroom.message.template import Content

ROUNDS = 5
OURS_PER_ROUND = 4_000
PEERS_PER_ROUND = 40
TARGETS_US = {2: 20, 10: 20, 50: 35}
TARGET_RATIO = 150
OCTETS_WITHOUT_FILLER = 1_830


def content_of(kilobytes: int) -> Content:
    """The sample's templates, cut or filled to about `kilobytes` on the wire."""
    head_text, head_html = sample.TEXT.split(sample.STATIC)[0], sample.HTML.split("<p style=")[0]
    tail_text, tail_html = "\nAll about your day: {{ link }}\n", '<p><a href="{{ link }}">Your day</a></p>\n</body></html>\n'
    room = (kilobytes * 1024 - OCTETS_WITHOUT_FILLER) * 23 // 50  # for each part, before it is encoded
    filler = ((sample.STATIC + "\n") * (room // len(sample.STATIC) + 1))[:room]
    html = "".join([f"<p>{line}</p>\n" for line in filler.split("\n")])
    return Content(
        subject=sample.SUBJECT,
        text=head_text + filler + tail_text,
        html=head_html + html + tail_html,
        from_address=sample.SENDER,
        from_name=sample.SENDER_NAME,
    )


def with_email_message(content: Content, index: int) -> bytes:
    """The same message as the standard library builds it."""
    fields = sample.values(index)
    message = EmailMessage(policy=SMTP)
    message["From"] = f"{sample.SENDER_NAME} <{sample.SENDER}>"
    message["To"] = sample.address(index)
    message["Subject"] = sample.substituted(content.subject, fields)
    message["Message-ID"] = f"<bench.{index}@sender.example>"
    message["Date"] = "Sat, 05 Jun 2027 10:00:00 +0000"
    message.set_content(sample.substituted(content.text or "", fields), cte="quoted-printable")
    message.add_alternative(sample.substituted(content.html or "", fields), subtype="html", cte="quoted-printable")
    return message.as_bytes()


def cpu_us(work: Callable[[int], bytes], first: int, count: int) -> float:
    """CPU time for one message, over `count` of them."""
    started = time.process_time()
    for index in range(first, first + count):
        work(index)
    return (time.process_time() - started) / count * 1e6


def measure(kilobytes: int) -> list[Figure]:
    content = content_of(kilobytes)
    compiled = compile_message(content, Stamp("bench", datetime(2027, 6, 5, 10, tzinfo=UTC)), {})
    recipients = [(sample.address(index), sample.values(index)) for index in range(ROUNDS * OURS_PER_ROUND)]
    octets = len(compiled.render(recipients[0][0], 0, recipients[0][1]))

    def ours(index: int) -> bytes:
        address, fields = recipients[index]
        return compiled.render(address, index, fields)

    costs, ratios = [], []
    for round_no in range(ROUNDS):
        gc.collect()
        cost = cpu_us(ours, round_no * OURS_PER_ROUND, OURS_PER_ROUND)
        peer = cpu_us(lambda index: with_email_message(content, index), round_no * PEERS_PER_ROUND, PEERS_PER_ROUND)
        costs.append(cost)
        ratios.append(peer / cost)
    size = f"{kilobytes} KB ({octets:,} bytes)"
    cost, ratio = statistics.median(costs), statistics.median(ratios)
    return [
        Figure.at_most("G4-render", f"CPU for a message of {size}", cost, "us", TARGETS_US[kilobytes]),
        Figure.at_least("G4-render", f"rate at {size}", ratio, "x", TARGET_RATIO, "email.message.EmailMessage"),
    ]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", action="store_true", help="print one JSON object per figure and line")
    options = arguments.parse_args()
    report([figure for kilobytes in TARGETS_US for figure in measure(kilobytes)], options.json)


if __name__ == "__main__":
    main()
