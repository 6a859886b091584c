"""dkimpy, signing one message again and again with an RSA key. Runs under Debian's Python, which has it (python3-dkim).

Standard input is {"key": PEM, "message": text, "count": n}; the one line that it prints is a run, as of every peer.
"""

import json
import sys
import time

import dkim


def main() -> None:
    given = json.load(sys.stdin)
    key, message, count = given["key"].encode(), given["message"].encode("ascii"), given["count"]
    started, cpu_started = time.perf_counter(), time.process_time()
    for _ in range(count):
        dkim.sign(message, b"bench", b"sender.example", key, canonicalize=(b"relaxed", b"simple"))
    print(json.dumps({"messages": count, "seconds": time.perf_counter() - started,
                      "cpu_seconds": time.process_time() - cpu_started}))


main()
