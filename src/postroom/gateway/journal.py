"""The journal of one worker process: what it hands to gateways, written down before anybody can know it elsewhere.

    W  the intent: this window is about to be committed          before the commit
    S  this attempt is being handed over                         before the final dot can reach the kernel
    A  the gateway's answer to it                                as soon as it is read

Promises: a record is one write of 64 octets, so it outlives the process that wrote it, however that dies; room for all that a
window may need is there before the window is; whoever can lock the files of a journal knows that its process is dead.
What it does not: records are not synced, since the window's own commit is. After a power loss a journal may have lost its end,
so its silence proves nothing then (`dead_journals.py` reads what is left of a journal).
Fails: with JournalFull before anything is said to a gateway. An answer that cannot be written is still in the worker's memory.

A segment is a header of 512 octets and 16,384 records, preallocated, locked with flock for the life of its process. A window
has all its records in one segment. When each window in it is booked in the ledger the segment is finished; it is forgotten when
the database has been seen to stand beyond that, since a fail-over may lose what was booked last.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Self
from zlib import crc32

import structlog

from postroom.domain.outcome import Kind, Outcome
from postroom.errors import Unavailable
from postroom.points import reach

MAGIC = b"POSTRJ01"
HEADER = struct.Struct("<8s16s16sqI456s")  # magic, installation, boot id, beat, number of the segment, owner; then its CRC
HEADER_OCTETS = HEADER.size + 4
RECORD_OCTETS = 64
RECORDS = 16_384
SEGMENT_OCTETS = HEADER_OCTETS + RECORDS * RECORD_OCTETS

# Behind the CRC of each record: its sequence in the segment, and what it is.
INTENT = struct.Struct("<IBxHqqii28x")    # recipients, account, job, chunk, window
ENTRY = struct.Struct("<IBBhIiHIB37s")    # outcome, attempt, sequence of its W, position, code, enhanced code, refusals, text
TEXT_OCTETS = 37
W, S, A = 1, 2, 3
KINDS = (Kind.SENT, Kind.FAILED, Kind.SKIPPED, Kind.UNCONFIRMED, Kind.REFUSED, Kind.RELEASED)  # as octets of version 01
OCTETS_OF_KINDS = {kind: octet for octet, kind in enumerate(KINDS)}

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
UNKNOWN_BOOT = bytes(16)

log = structlog.get_logger(__name__)


class WindowKey(NamedTuple):
    account_id: int
    job_id: int
    chunk_no: int
    window_no: int


class JournalFull(Unavailable):
    """The journal cannot be written: nothing may be sent."""


@dataclass(slots=True, eq=False)
class _Segment:
    path: Path
    descriptor: int
    seed: int          # of its records' CRCs, so that a record of another file is none of this one
    written: int = 0   # records
    promised: int = 0  # records, those written among them
    unbooked: int = 0  # windows
    kept_as: str = ""  # set aside for people to read, and why

    def append(self, body: bytes) -> None:
        """Raises OSError; the next one is then written over whatever is there of this one."""
        record = crc32(body, self.seed).to_bytes(4, "little") + body
        if os.pwrite(self.descriptor, record, HEADER_OCTETS + self.written * RECORD_OCTETS) != RECORD_OCTETS:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.written += 1

    def remove(self) -> None:
        if self.kept_as:
            self.path.rename(self.path.with_name(f"{self.path.name}.{self.kept_as}"))
        else:
            self.path.unlink(missing_ok=True)
        os.close(self.descriptor)


class Intent(NamedTuple):
    """A window that is about to be opened, by one claim: another claim of the same process may intend a window of the same name,
    when a lease ran out in between. `sequence` is that of its record."""

    segment: _Segment
    sequence: int


class Journal:
    """Made by `open`. `beat` goes into the headers of further segments: keep it the latest that the database has told."""

    def __init__(self, directory: Path, installation: bytes, owner: str, beat: int) -> None:
        self.beat = beat
        self._directory = directory
        self._installation = installation
        self._owner = owner
        self._name = secrets.token_hex(8)
        self._number = 0
        self._unbooked: set[Intent] = set()
        self._finished: list[_Segment] = []
        self._current = self._new_segment()

    @classmethod
    def open(cls, directory: Path, installation: bytes, owner: str, beat: int) -> Self:
        """A journal with its first segment. Raises JournalFull."""
        return cls(directory, installation, owner, beat)

    def intend(self, key: WindowKey, recipients: int) -> Intent:
        """Before the commit that opens the window. Raises JournalFull: then no window may be opened."""
        reach("journal.before_intent")
        needed = 1 + 2 * recipients
        if self._current.promised + needed > RECORDS:
            self._rotate()
        segment = self._current
        sequence = segment.written + 1
        self._write(segment, INTENT.pack(sequence, W, recipients, *key))
        segment.promised += needed
        segment.unbooked += 1
        intent = Intent(segment, sequence)
        self._unbooked.add(intent)
        reach("journal.after_intent")
        return intent

    def handing_over(self, intent: Intent, position: int, attempt_no: int) -> None:
        """Just before the final dot can reach the kernel. Raises JournalFull: then it must not."""
        reach("journal.before_s")
        segment, sequence = intent
        self._write(segment, ENTRY.pack(segment.written + 1, S, 0, attempt_no, sequence, position, 0, 0, 0, b""))
        reach("journal.after_s")

    def answered(self, intent: Intent, outcome: Outcome) -> None:
        """What the gateway said of it: of the text the end, where queue ids stand. Never raises: the worker knows it too."""
        reach("journal.before_a")
        segment, sequence = intent
        text = (outcome.reply or "").encode()[-TEXT_OCTETS:]
        body = ENTRY.pack(segment.written + 1, A, OCTETS_OF_KINDS[outcome.kind], outcome.attempt_no, sequence, outcome.position,
                          outcome.code or 0, _number_of(outcome.enhanced_code), min(outcome.refusals, 255), text)
        try:
            segment.append(body)
        except OSError as error:
            log.error("an answer could not be written into the journal", path=str(segment.path), error=error.strerror)
        reach("journal.after_a")

    def booked(self, intent: Intent) -> None:
        """The ledger has the window's outcomes, or the window was never opened: the journal need not remember it."""
        if intent not in self._unbooked:
            return
        self._unbooked.remove(intent)
        segment = intent.segment
        segment.unbooked -= 1
        if segment.unbooked == 0 and segment is not self._current:
            self._finished.append(segment)

    @property
    def is_booked(self) -> bool:
        """Whether it tells nothing that is not in the ledger."""
        return not self._unbooked

    def finished(self) -> list[_Segment]:
        """Segments whose windows are all booked by now, for `forget`."""
        return list(self._finished)

    def forget(self, segments: list[_Segment]) -> None:
        """The database has been seen beyond the bookings of these."""
        for segment in segments:
            self._finished.remove(segment)
            reach("journal.before_removal")
            segment.remove()
            reach("journal.after_removal")

    def set_aside(self, why: str) -> None:
        """What was written until now is kept for people to read, each segment from when its windows are booked; new ones are like
        any other. Raises JournalFull where the next window has no place."""
        for segment in self._segments():
            segment.kept_as = why
        self._rotate()
        self.forget(self.finished())

    def close(self) -> None:
        """A clean end. What is not booked stays, for a sibling to settle."""
        for segment in self._segments():
            if segment.unbooked:
                os.close(segment.descriptor)
            else:
                segment.remove()
        self._unbooked.clear()
        self._finished.clear()

    def _segments(self) -> set[_Segment]:
        return {intent.segment for intent in self._unbooked} | {self._current, *self._finished}

    def _write(self, segment: _Segment, body: bytes) -> None:
        try:
            segment.append(body)
        except OSError as error:
            raise _full(segment.path, error) from error

    def _rotate(self) -> None:
        full, self._current = self._current, self._new_segment()
        if full.unbooked == 0:
            self._finished.append(full)
        reach("journal.after_rotation")

    def _new_segment(self) -> _Segment:
        """Made beside its place and renamed into it, so that nobody finds one without header or lock."""
        reach("journal.before_segment")
        number = self._number + 1
        path = self._directory / f"{self._name}-{number:06}.journal"
        draft = path.with_suffix(".draft")
        header = HEADER.pack(MAGIC, self._installation, boot_id(), self.beat, number, self._owner.encode())
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _preallocate(descriptor)
                os.pwrite(descriptor, header + crc32(header).to_bytes(4, "little"), 0)
                os.fsync(descriptor)
                draft.rename(path)
            except OSError:
                os.close(descriptor)
                draft.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise _full(path, error) from error
        self._number = number
        reach("journal.after_segment")
        return _Segment(path, descriptor, crc32(header))


def _preallocate(descriptor: int) -> None:
    """So that a disk that fills up later is no matter of records."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, SEGMENT_OCTETS)
    elif os.pwrite(descriptor, bytes(SEGMENT_OCTETS), 0) != SEGMENT_OCTETS:  # macOS
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _full(path: Path, error: OSError) -> JournalFull:
    return JournalFull(f"The journal {path} cannot be written: {error.strerror or error}. Nothing is sent until it can be. "
                       "Make room there, or give POSTROOM_HOME another place.")


def boot_id() -> bytes:
    """Of this start of the machine; UNKNOWN_BOOT where the system does not tell, as on macOS."""
    try:
        return bytes.fromhex(BOOT_ID.read_text().strip().replace("-", ""))
    except (OSError, ValueError):
        return UNKNOWN_BOOT


@lru_cache(maxsize=256)
def _number_of(enhanced_code: str | None) -> int:
    """4.7.28 as 4007028; 0 for none (RFC 3463 section 2: at most three digits in the second and third part)."""
    if enhanced_code is None:
        return 0
    try:
        first, second, third = map(int, enhanced_code.split("."))
    except ValueError:
        return 0
    return (first * 1000 + second) * 1000 + third if max(first, second, third) < 1000 else 0
