"""What a DKIM signature costs beside the cryptography itself, and what two threads make of it.

    python bench/signing.py [--json]

The message is the sample (10 KB) with the header fields of a bulk mailing. The bare signature is `cryptography` signing as many
octets with the same key, in turns with whole `sign()` calls: a batch of one, a batch of the other, within the same seconds;
the figure is the median of the differences. CPU time, but for the threads, where the clock on the wall counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

import sample
from harness import BenchmarkError, Figure, MissingError, Run, note, report
from postroom.message.wire.dkim import ED25519, RSA, Dkim, generate, load_signer

PYTHON_WITH_DKIMPY = "/usr/bin/python3"
DKIMPY_SIGNER = Path(__file__).parent / "peers" / "dkimpy_signer.py"
ROUNDS = 50
MESSAGES = 50
PER_BATCH = {RSA: 20, ED25519: 200}
PER_THREADED_RUN = 100
THREADED_ROUNDS = 21
PER_PEER_RUN = 60
PEER_ROUNDS = 3
TARGET_BESIDE_US = 60
TARGET_TWO_THREADS = 1.8
TARGET_ED25519_PER_S = 6_000
SIGNED_OCTETS = 900  # about what the header fields come to
BULK_FIELDS = (
    b"Reply-To: office@sender.example\r\n"
    b"List-Id: The Harbour Club <news.sender.example>\r\n"
    b"List-Unsubscribe: <https://sender.example/u/4vYqk0o2R1mZl6cW8bTn3xJp>\r\n"
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    b"Feedback-ID: 7:sender.example\r\n"
    b"Precedence: bulk\r\n"
    b"X-Job: 7\r\n"
)


class Bench:
    """One key, the messages, and whoever signs with it."""

    def __init__(self, algorithm: str) -> None:
        self.algorithm = algorithm
        self.pem, _public = generate(algorithm)
        self.messages = [BULK_FIELDS + sample.ready_message(index) for index in range(MESSAGES)]
        self._dkim = Dkim([load_signer("sender.example", "bench", self.pem)], datetime(2027, 6, 5, 10, tzinfo=UTC))
        self._bare = _bare_signature(load_pem_private_key(self.pem.encode(), password=None))

    def sign(self, count: int) -> None:
        for index in range(count):
            self._dkim.sign(self.messages[index % MESSAGES])

    def sign_bare(self, count: int) -> None:
        for _ in range(count):
            self._bare()


def _bare_signature(key: Any) -> Callable[[], bytes]:
    if isinstance(key, Ed25519PrivateKey):
        return lambda: key.sign(b"x" * 32)  # RFC 8463: it signs the hash
    padding, digest = PKCS1v15(), SHA256()
    return lambda: key.sign(b"x" * SIGNED_OCTETS, padding, digest)


def cpu_us(work: Callable[[int], None], count: int) -> float:
    """CPU time of one, over `count` of them."""
    started = time.process_time()
    work(count)
    return (time.process_time() - started) / count * 1e6


def beside_the_signature(bench: Bench) -> tuple[float, float]:
    """(us beside the bare signature, us in all), medians."""
    count = PER_BATCH[bench.algorithm]
    pairs = [(cpu_us(bench.sign_bare, count), cpu_us(bench.sign, count)) for _ in range(ROUNDS)]
    return statistics.median(whole - bare for bare, whole in pairs), statistics.median(whole for _bare, whole in pairs)


def two_threads_to_one(bench: Bench) -> tuple[float, float]:
    """How much faster two threads are than one, median of runs that stood next to each other: (whole `sign()`, bare signature).

    The bare one is what the machine had to give at that time: its second core may be somebody else's.
    """

    def seconds(work: Callable[[int], None], threads: int) -> float:
        with ThreadPoolExecutor(threads) as pool:
            started = time.perf_counter()
            list(pool.map(work, [PER_THREADED_RUN // threads] * threads))
            return time.perf_counter() - started

    pairs = [[seconds(work, 1) / seconds(work, 2) for work in (bench.sign, bench.sign_bare)] for _ in range(THREADED_ROUNDS)]
    return statistics.median(whole for whole, _bare in pairs), statistics.median(bare for _whole, bare in pairs)


def to_dkimpy(bench: Bench) -> float | None:
    """Our CPU time into dkimpy's for the same message and key, median; None where it is not installed."""
    try:
        ratios = [dkimpy(bench).cpu_us_per_message / cpu_us(bench.sign, PER_PEER_RUN) for _ in range(PEER_ROUNDS)]
    except MissingError as error:
        note(f"dkimpy: left out: {error}")
        return None
    return statistics.median(ratios)


def dkimpy(bench: Bench) -> Run:
    given = {"key": bench.pem, "message": bench.messages[0].decode("ascii"), "count": PER_PEER_RUN}
    try:
        ended = subprocess.run([PYTHON_WITH_DKIMPY, str(DKIMPY_SIGNER)], input=json.dumps(given), capture_output=True, text=True,
                               timeout=60)
    except FileNotFoundError:
        raise MissingError(f"there is no {PYTHON_WITH_DKIMPY}") from None
    if "No module named" in ended.stderr:
        raise MissingError("python3-dkim is not installed")
    if ended.returncode != 0:
        raise BenchmarkError(f"{DKIMPY_SIGNER.name} failed:\n{ended.stderr[-2000:]}")
    return Run(**json.loads(ended.stdout))


def measure() -> list[Figure]:
    rsa, ed25519 = Bench(RSA), Bench(ED25519)
    size = f"{len(rsa.messages[0]) / 1024:.0f} KB"
    figures = []
    for name, bench in (("RSA-2048", rsa), ("Ed25519", ed25519)):
        beside, whole = beside_the_signature(bench)
        figures += [
            Figure.at_most("G9", f"DKIM beside bare {name}, {size}", beside, "us", TARGET_BESIDE_US, "cryptography"),
            Figure.plain("G9", f"DKIM with {name} in all, {size}", whole, "us"),
        ]
    per_second = 1e6 / whole
    on_two_threads, bare_on_two_threads = two_threads_to_one(rsa)
    return [
        *figures,
        Figure.at_least("G9", "DKIM with Ed25519 on one core", per_second, "messages/s", TARGET_ED25519_PER_S),
        Figure.at_least("G9", "DKIM with RSA-2048 on two threads", on_two_threads, "x one thread", TARGET_TWO_THREADS),
        Figure.plain("G9", "bare RSA-2048 signature on two threads", bare_on_two_threads, "x one thread", "cryptography"),
        Figure.plain("G9", "DKIM with RSA-2048, CPU for one", to_dkimpy(rsa), "x less", "dkimpy"),
    ]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", action="store_true", help="print one JSON object per figure and line")
    report(measure(), arguments.parse_args().json)


if __name__ == "__main__":
    main()
