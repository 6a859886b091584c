"""Reads the journals of processes that are no more.

Promises: a journal is given to one reader at a time, and only when its process is dead: the kernel has given up its locks. What
is told of it was written by that process, up to the first record that is not as it was written: behind a torn, foreign or
missing one nothing is believed.
Fails: a file that says nothing any more is set aside with an error in the log, and the leases in the ledger decide.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from zlib import crc32

import structlog

from postroom.domain.outcome import Evidence, Outcome
from postroom.gateway.journal import (
    ENTRY,
    HEADER,
    HEADER_OCTETS,
    INTENT,
    KINDS,
    MAGIC,
    RECORD_OCTETS,
    RECORDS,
    SEGMENT_OCTETS,
    UNKNOWN_BOOT,
    S,
    W,
    WindowKey,
    boot_id,
)
from postroom.points import reach

DRAFT_ABANDONED_AFTER_S = 60.0

Attempts = dict[tuple[int, int], Outcome | None]

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class DeadJournal:
    """All that is left of one process, locked by this one: end it with `discard`, `release` or `set_aside`.

    `windows` has each window that it intended, with what it wrote of (position, attempt): the outcome that the gateway told it,
    or None where it was handed over and no answer is known. `is_whole`: what is not there did not happen.
    """

    owner: str
    beat: int = 0
    is_whole: bool = True
    windows: dict[WindowKey, Attempts] = field(default_factory=dict)
    files: dict[Path, int] = field(default_factory=dict)  # and the descriptors that hold their locks

    def discard(self) -> None:
        """The ledger has what it said."""
        reach("journal.before_discard")
        for path in self.files:
            path.unlink(missing_ok=True)
        self.release()
        reach("journal.after_discard")

    def set_aside(self, why: str) -> None:
        """Kept for people to look at, and never read again."""
        for path in self.files:
            with contextlib.suppress(FileNotFoundError):
                path.rename(path.with_name(f"{path.name}.{why}"))
        self.release()

    def release(self) -> None:
        for descriptor in self.files.values():
            os.close(descriptor)
        self.files.clear()


def dead_journals(directory: Path, installation: bytes) -> Iterator[DeadJournal]:
    """The journals that no living process holds, one after the other. Those of other installations are left alone."""
    _remove_old_drafts(directory)
    for name in sorted({path.name.rpartition("-")[0] for path in directory.glob("*.journal")}):
        if files := _locked(directory, name):
            dead = _read(files, installation)
            if dead is not None:
                yield dead


def _locked(directory: Path, name: str) -> dict[Path, int]:
    """All segments of one journal, locked; nothing while its process lives, or somebody else settles them."""
    files: dict[Path, int] = {}
    try:
        for path in sorted(directory.glob(f"{name}-*.journal")):
            files[path] = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            fcntl.flock(files[path], fcntl.LOCK_EX | fcntl.LOCK_NB)
        # It may have made or removed segments, or somebody settled it, between the look at the directory and the lock.
        if {path: path.stat().st_ino for path in directory.glob(f"{name}-*.journal")} == {
                path: os.fstat(descriptor).st_ino for path, descriptor in files.items()}:
            return files
    except (BlockingIOError, FileNotFoundError):
        pass
    for descriptor in files.values():
        os.close(descriptor)
    return {}


def _read(files: dict[Path, int], installation: bytes) -> DeadJournal | None:
    """What the files say; None, released, for another installation's or where no header can be read."""
    dead = DeadJournal("", files=files)
    for path, descriptor in files.items():
        content = os.pread(descriptor, SEGMENT_OCTETS, 0)
        header = content[:HEADER.size]
        if len(content) < HEADER_OCTETS or crc32(header).to_bytes(4, "little") != content[HEADER.size:HEADER_OCTETS]:
            dead.is_whole = False
            continue
        magic, whose, boot, beat, _number, owner = HEADER.unpack(header)
        if whose != installation or magic != MAGIC:
            _say_foreign(path)
            dead.release()
            return None
        dead.owner, dead.beat = owner.rstrip(b"\0").decode(), max(dead.beat, beat)
        complete = _read_records(content, crc32(header), dead.windows)
        dead.is_whole = dead.is_whole and complete and boot == boot_id() != UNKNOWN_BOOT
    if not dead.owner:
        log.error("a journal has no header that can be read; it is set aside", paths=[str(path) for path in files])
        dead.set_aside("unreadable")
        return None
    return dead


def _read_records(content: bytes, seed: int, windows: dict[WindowKey, Attempts]) -> bool:
    """Up to the first that is not as it was written. True: this is all that was ever written there."""
    intents: dict[int, WindowKey] = {}
    for sequence in range(1, RECORDS + 1):
        start = HEADER_OCTETS + (sequence - 1) * RECORD_OCTETS
        body = content[start + 4:start + RECORD_OCTETS]
        if crc32(body, seed).to_bytes(4, "little") != content[start:start + 4] or body[:4] != sequence.to_bytes(4, "little"):
            return len(content) == SEGMENT_OCTETS and not any(content[start:])
        if body[4] == W:
            _, _, _, *key = INTENT.unpack(body)
            intents[sequence] = WindowKey(*key)
            windows.setdefault(intents[sequence], {})
            continue
        _, kind, octet, attempt_no, intent, position, code, enhanced, refusals, text = ENTRY.unpack(body)
        attempt = windows[intents[intent]]
        attempt[position, attempt_no] = attempt.get((position, attempt_no)) if kind == S else Outcome(
            position, attempt_no, KINDS[octet], Evidence.REPLY, code or None, _enhanced_code_of(enhanced),
            text.rstrip(b"\0").decode(errors="ignore"), refusals=refusals)
    return len(content) == SEGMENT_OCTETS


def _remove_old_drafts(directory: Path) -> None:
    """Of processes that died while they made a segment. A young one may be about to be locked."""
    for draft in directory.glob("*.draft"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - draft.stat().st_mtime > DRAFT_ABANDONED_AFTER_S:
                draft.unlink()


@lru_cache(maxsize=1024)
def _say_foreign(path: Path) -> None:
    """Once for each."""
    log.warning("a journal of another installation is left alone", path=str(path))


def _enhanced_code_of(number: int) -> str | None:
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}" if number else None
