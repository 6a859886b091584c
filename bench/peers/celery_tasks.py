"""Peer: a Celery task for each recipient, with Redis as broker (started here, on a socket).

--connections is the number of worker processes (prefork); each mail has a connection of its own, as Django's backend
does by itself. Without `redis-server` the broker is a folder (Celery's filesystem transport), which is said on standard
error. The clock starts when the workers have sent a first mail and are idle: from the first task queued to the last
mail sent.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from peer import arguments, own_cpu_seconds, print_run

from harness import BenchmarkError
from process import cpu_seconds

HERE = Path(__file__).parent
TIMEOUT_S = 120.0
WARM_UP = 8


def main() -> None:
    options = arguments(__doc__)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-celery-")))
        done = folder / "done"
        done.touch()
        os.environ.update(BENCH_SMTP_HOST=options.host, BENCH_SMTP_PORT=str(options.port), BENCH_DONE=str(done))
        os.environ.update(stack.enter_context(broker(folder)))
        worker = stack.enter_context(celery_worker(folder, options.connections))
        from celery_app import send_one  # It reads the environment when it is imported.

        for index in range(WARM_UP):
            send_one.delay(index)
        wait_for(done, WARM_UP)
        cpu_before, started = own_cpu_seconds() + cpu_seconds(worker.pid), time.perf_counter()
        for index in range(WARM_UP, options.count):
            send_one.delay(index)
        wait_for(done, options.count)
        seconds = time.perf_counter() - started
        cpu = own_cpu_seconds() + cpu_seconds(worker.pid) - cpu_before
        # The warm-up went to the sink too; rate and CPU per message are those of the rest.
        sent = options.count - WARM_UP
        print_run(options.count, seconds * options.count / sent, cpu * options.count / sent)


@contextmanager
def broker(folder: Path) -> Iterator[dict[str, str]]:
    """The broker's settings for the environment; Redis, where it is installed, lives as long as this context."""
    if shutil.which("redis-server") is None:
        print("redis-server is not installed: Celery uses its filesystem transport", file=sys.stderr)
        for name in ("queue", "queue-control"):
            (folder / name).mkdir()
        yield {"BENCH_BROKER": "filesystem://", "BENCH_FOLDER": str(folder / "queue")}
        return
    socket = folder / "redis.sock"
    command = ["redis-server", "--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no"]
    with running([*command, "--dir", str(folder)]) as redis:
        for _ in range(250):
            if socket.exists() or redis.poll() is not None:
                break
            time.sleep(0.02)
        if not socket.exists():
            raise BenchmarkError("redis-server did not open its socket")
        yield {"BENCH_BROKER": f"redis+socket://{socket}"}


@contextmanager
def celery_worker(folder: Path, processes: int) -> Iterator[subprocess.Popen[bytes]]:
    log = folder / "worker.log"
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "celery_app",
        "worker",
        "--pool",
        "prefork",
        "--concurrency",
        str(processes),
    ]
    command += ["--loglevel", "WARNING", "--without-gossip", "--without-mingle", "--logfile", str(log)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(HERE), str(HERE.parent)))}
    with running(command, cwd=folder, env=environment) as worker:
        yield worker


@contextmanager
def running(command: list[str], **options: object) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(done: Path, messages: int) -> None:
    """Until that many mails were sent."""
    deadline = time.monotonic() + TIMEOUT_S
    while done.stat().st_size < messages:
        if time.monotonic() > deadline:
            raise BenchmarkError(f"Celery sent {done.stat().st_size} of {messages} mails in {TIMEOUT_S} s")
        time.sleep(0.01)


if __name__ == "__main__":
    main()
