"""Peer: Postfix's `smtp-source`, the usual yardstick, with the very bytes of our sample.

As it comes it opens a connection for each message; with --keep it goes on using the ones it has (its option -d).
"""

from __future__ import annotations

import subprocess
import tempfile
import time

from peer import arguments, children_cpu_seconds, print_run

import sample
from sink import postfix_tool


def main() -> None:
    options = arguments(__doc__, "keep")
    command = [postfix_tool("smtp-source"), "-s", str(options.connections), "-m", str(options.count)]
    command += ["-d"] if options.keep else []
    command += ["-f", sample.SENDER, "-t", sample.address(1)]
    with tempfile.NamedTemporaryFile() as message:
        message.write(sample.ready_message().replace(b"\r\n", b"\n"))  # It appends the CR itself.
        message.flush()
        started = time.perf_counter()
        subprocess.run([*command, "-F", message.name, f"inet:{options.host}:{options.port}"], check=True)
        seconds = time.perf_counter() - started
    print_run(options.count, seconds, children_cpu_seconds())


if __name__ == "__main__":
    main()
