"""What every peer script shares: its arguments, and the one line of JSON that it prints at the end."""

from __future__ import annotations

import argparse
import json
import resource


def arguments(description: str, *switches: str) -> argparse.Namespace:
    """--host, --port, --count, --connections, and the named on/off switches."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--count", type=int, required=True, help="messages to send")
    parser.add_argument("--connections", type=int, default=10)
    for switch in switches:
        parser.add_argument(f"--{switch}", action="store_true")
    return parser.parse_args()


def own_cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def children_cpu_seconds() -> float:
    """CPU time of the children that have ended and were waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def print_run(messages: int, seconds: float, cpu_seconds: float) -> None:
    print(json.dumps({"messages": messages, "seconds": seconds, "cpu_seconds": cpu_seconds}), flush=True)
