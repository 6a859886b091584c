"""How fast a list of 1,000,000 recipients is frozen: by CSV upload through the API, and from the account's contacts.

    python bench/freeze.py [--json] [--rows N]

Prints rows per second of each, the memory that the server's largest process ever held (200 MiB at most), and both
rates as a share of a plain COPY of the same rows into a bare table of the same server, which is the limit.

The clock of an upload runs from the first byte of the request to the answer, when the job exists. Exit status: 0 when
measured, 1 when something broke (the reason is on standard error).
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import httpx
import psycopg

import sample
from contender import Postroom, Server
from harness import BenchmarkError, Figure, note, run_benchmark
from process import rss_max_bytes, tree

COLUMNS = ("email", "first_name", "last_name", "city", "member_no", "amount")
SERVER_MEMORY_TARGET_MIB = 200
UPLOAD_TIMEOUT_S = 600.0
CSV_BLOCK_BYTES = 1 << 18


def write_csv(path: Path, rows: int) -> None:
    """`rows` distinct recipients with five merge fields each, about 80 bytes a row, written block by block."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(COLUMNS) + "\n")
        for start in range(0, rows, 10_000):
            file.write("".join(map(csv_row, range(start, min(start + 10_000, rows)))))


def csv_row(index: int) -> str:
    first, last = sample.FIRST_NAMES[index % 10], sample.LAST_NAMES[index // 10 % 10]
    city = sample.CITIES[index // 100 % 10]
    return f"{sample.address(index)},{first},{last},{city},M-{index:07d},€ {index % 900 + 12}.50\n"


async def plain_copy(url: str, path: Path) -> float:
    """Seconds of a COPY of the file into a table without key, constraint or trigger, committed."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute(f"CREATE TABLE bench_plain ({', '.join(f'{column} text' for column in COLUMNS)})")
        await connection.commit()
        started = time.perf_counter()
        async with connection.cursor().copy("COPY bench_plain FROM STDIN (FORMAT csv, HEADER)") as copy:
            with path.open("rb") as file:
                while block := file.read(CSV_BLOCK_BYTES):
                    await copy.write(block)
        await connection.commit()
        seconds = time.perf_counter() - started
        await connection.execute("DROP TABLE bench_plain")
    return seconds


async def upload(server: Server, path: Path, rows: int) -> float:
    """Seconds of one request that makes a job of the whole file."""
    timeout, headers = httpx.Timeout(UPLOAD_TIMEOUT_S), {"Authorization": f"Bearer {server.access.key}"}
    async with httpx.AsyncClient(base_url=server.base_url, headers=headers, timeout=timeout) as client:
        with path.open("rb") as file:
            message = (None, server.access.message.encode(), "application/json")
            recipients = ("list.csv", file, "text/csv")
            started = time.perf_counter()
            response = await client.post("/api/v1/jobs", files={"message": message, "recipients": recipients})
            seconds = time.perf_counter() - started
    if response.status_code != 201:
        raise BenchmarkError(f"the upload was answered with {response.status_code}: {response.text[:500]}")
    count = response.json()["recipient_count"]
    if count != rows:
        raise BenchmarkError(f"{rows} rows were uploaded, the job has {count} recipients")
    return seconds


async def measure(rows: int) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="postroom-freeze-") as folder:
        path = Path(folder) / "list.csv"
        write_csv(path, rows)
        note(f"{rows:,} rows, {path.stat().st_size / 1e6:.0f} MB")
        async with Postroom() as postroom:
            copy_before = await plain_copy(postroom.url, path)
            async with postroom.server() as server:
                uploaded = await upload(server, path, rows)
                memory = max(rss_max_bytes(pid) for pid in tree(server.pid))
            copy_between = await plain_copy(postroom.url, path)
            account_id, imported = await postroom.import_contacts(path, rows)
            from_contacts = await postroom.freeze_from_contacts(account_id, rows)
            copy_after = await plain_copy(postroom.url, path)
    copy_rates = [rows / seconds for seconds in (copy_before, copy_between, copy_after)]
    figures = [Figure.plain("freeze", "plain COPY", sum(copy_rates) / 3, "rows/s")]
    figures.append(Figure.plain("freeze", f"CSV into the contacts, {rows:,} rows", rows / imported, "rows/s"))
    beside = ((uploaded, "CSV upload", copy_rates[:2]), (from_contacts, "from contacts", copy_rates[1:]))
    for seconds, name, rates in beside:
        figures.append(Figure.plain("freeze", f"{name}, {rows:,} rows", rows / seconds, "rows/s"))
        share = rows / seconds / (sum(rates) / 2)
        figures.append(Figure.plain("freeze", f"{name}: share of plain COPY", share, "x", "plain COPY"))
    name = f"server's largest process during an upload of {rows:,} rows"
    return [*figures, Figure.at_most("freeze", name, memory / 2**20, "MiB", SERVER_MEMORY_TARGET_MIB)]


if __name__ == "__main__":
    sys.exit(run_benchmark(measure, "Rows per second into a frozen list, and the memory that it takes", rows=1_000_000))
