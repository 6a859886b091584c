"""The whole machine loses power: the database stops at once, the workers are gone, and journals have lost what was not synced.

What a journal has left may be nothing but its header, zeroes or the end of the file behind a number of records, or half a
record; and the machine has another boot id. Its silence proves nothing then: windows that were open become unconfirmed, and
no others; nobody is lost, and nobody is mailed twice.
"""

from __future__ import annotations

import random
from pathlib import Path
from zlib import crc32

from postroom.domain.pace import WINDOW_SIZE_MAX
from postroom.gateway.journal import HEADER, HEADER_OCTETS, RECORD_OCTETS, SEGMENT_OCTETS
from proofs.installation import installed, moments
from proofs.verdict import Say, Scale, Verdict

WORKERS = 2
SESSIONS = 4
CONNECTIONS = 6
SCRIPT = "dot:delay=4ms"
UNSYNCED_MAX = 300  # records that are lost at the end of a journal, at most


async def prove(scale: Scale, seed: int, say: Say) -> Verdict:
    draw = random.Random(seed)
    rounds, count = scale.of(50, 3), scale.of(100_000, 6_000)
    torn = 0
    async with installed(connections=CONNECTIONS, concurrency=SESSIONS, script=SCRIPT, recipients=count, durable=True,
                         lease_s=1.0) as place:
        await place.hire(WORKERS)
        job = await place.sending(count)
        for done, moment in enumerate(moments(draw, rounds, count), 1):
            await place.truth.until(moment)
            await place.stop_database_at_once()
            await place.kill_all()
            boot_id = draw.randbytes(16)
            torn += sum(cut(path, boot_id, draw) for path in place.journals.glob("*.journal"))
            await place.server.start()
            await place.hire(WORKERS)
            say(f"{done} losses of power, {place.truth.accepted:,} accepted")
        await place.over(job)
        await place.dismiss()
        sides = await place.sides(job)
        bound = rounds * CONNECTIONS * WINDOW_SIZE_MAX
        faults = await place.faults(job, sides, unconfirmed_max=bound)
    return Verdict({"recipients": count, "losses of power": rounds, "torn journals": torn, **sides.figures,
                    "unconfirmed at most": bound, **place.sampling.figures}, faults)


def cut(path: Path, boot_id: bytes, draw: random.Random) -> bool:
    """A journal as a loss of power leaves it, written in an earlier boot. True: its last record is torn."""
    content = path.read_bytes()
    magic, installation, _, *rest = HEADER.unpack(content[:HEADER.size])
    header = HEADER.pack(magic, installation, boot_id, *rest)
    written = next((n for n in range((SEGMENT_OCTETS - HEADER_OCTETS) // RECORD_OCTETS) if not any(_record(content, n))), 0)
    kept = max(0, written - draw.randrange(UNSYNCED_MAX)) if draw.random() < 0.8 else 0
    records = [_record(content, n)[4:] for n in range(kept)]
    left = header + crc32(header).to_bytes(4, "little")
    left += b"".join(crc32(body, crc32(header)).to_bytes(4, "little") + body for body in records)
    is_torn = kept < written and draw.random() < 0.5
    if is_torn:
        left += _record(content, kept)[:draw.randrange(5, RECORD_OCTETS)]
    if draw.random() < 0.5:
        left = left.ljust(SEGMENT_OCTETS, b"\0")
    path.write_bytes(left)
    return is_torn


def _record(content: bytes, number: int) -> bytes:
    start = HEADER_OCTETS + number * RECORD_OCTETS
    return content[start:start + RECORD_OCTETS]
