"""The truth record of the sandbox gateway: one line of JSON for each accepted message, and for each refused recipient.

It promises that a line is in the file, by a single write(), before the reply can leave: what a client was told is always
recorded, and what is recorded beyond that is exactly the doubt of a lost reply.
It fails with OSError when the file cannot take the line; the message is then not accepted.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from postroom.errors import InvalidInput, NotFound


class Record(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One accepted message, or what was refused of one. Times are seconds since 1970; `mail_t` is when its MAIL command came in.

    `message_id` is the value of the header field as it stands, or empty; `size` is in bytes, as sent, without the dot. Before the
    content there is neither. `refused` is the reply that refused these recipients, and empty for an accepted message.
    """

    t: float
    mail_t: float
    mail_from: str
    rcpt: tuple[str, ...]
    message_id: str
    size: int
    connection: int
    refused: str = ""


class RecordFile:
    """Appends records to a file that several gateways may share."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def append(self, record: Record) -> None:
        line = msgspec.json.encode(record) + b"\n"
        if os.write(self._file, line) != len(line):
            raise OSError("the record file took only a part of a line")

    def close(self) -> None:
        os.close(self._file)


@dataclass(frozen=True, slots=True)
class Tally:
    """What a record file says. `accepted` counts messages, `distinct` the different (message id, recipients) among them.

    `duplicates` holds each pair that was accepted more than once, with how many times. Always
    `accepted == distinct + sum(times - 1 for times in duplicates.values())`.
    """

    accepted: int
    distinct: int
    duplicates: dict[tuple[str, str], int]


def tally(path: Path) -> Tally:
    """Count a record file. A missing file is NotFound, a line that is no record is InvalidInput with its number."""
    decoder = msgspec.json.Decoder(Record)
    seen: Counter[tuple[str, str]] = Counter()
    number = 0
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):  # noqa: B007 - told where it ends
                record = decoder.decode(line)
                if not record.refused:
                    seen[record.message_id, " ".join(record.rcpt)] += 1
    except FileNotFoundError as error:
        raise NotFound(f"There is no record file {path}.") from error
    except msgspec.DecodeError as error:
        message = f"Line {number} of {path} is not a record of the sandbox gateway: {error}"
        raise InvalidInput(message, row=number) from error
    return Tally(seen.total(), len(seen), {key: times for key, times in seen.items() if times > 1})


_MESSAGE_ID: Final = re.compile(rb"(?:\A|\r\n)message-id:[ \t]*(?:\r\n[ \t]+)?([^\r\n]*)", re.IGNORECASE)
_USUAL: Final = b"\r\nMessage-ID: "


def message_id_of(head: bytes) -> str:
    """The Message-ID in the header block at the start of `head`, found by its bytes; empty where there is none."""
    end = head.find(b"\r\n\r\n")
    end = len(head) if end < 0 else end
    # The regular expression takes ten times as long as this spelling, which nearly everybody uses.
    start = head.find(_USUAL, 0, end)
    if start >= 0:
        start += len(_USUAL)
        stop = head.find(b"\r\n", start, end)
        value = head[start : stop if stop >= 0 else end].strip()
        if value:
            return value.decode("ascii", "replace")
    found = _MESSAGE_ID.search(head, 0, end)
    return found[1].strip().decode("ascii", "replace") if found else ""
