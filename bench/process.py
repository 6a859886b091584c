"""What a process used, read from /proc: CPU time of it and its children, and the most memory it ever held.

Promises: nothing is sampled that the kernel already keeps (the peak is VmHWM, so no short spike is missed).
Fails with `BenchmarkError` where there is no such process or no /proc.
"""

from __future__ import annotations

import os
from pathlib import Path

from harness import BenchmarkError

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """The process and all its living descendants."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found.extend(int(child) for child in task.read_text().split())
            except OSError:
                continue  # It ended while we looked.
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of the process, its living descendants, and those children it has waited for."""
    return sum(_own_cpu_seconds(each) for each in tree(pid))


def _own_cpu_seconds(pid: int) -> float:
    try:
        # The command's name may hold blanks and parentheses: count from behind the last one.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError as error:
        raise BenchmarkError(f"cannot read the CPU time of process {pid}: {error}") from error
    utime, stime, children_utime, children_stime = (int(value) for value in fields[11:15])
    return (utime + stime + children_utime + children_stime) / TICKS_PER_S


def rss_max_bytes(pid: int) -> int:
    """The most resident memory that this process (without its children) has held since its start or the last reset."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError as error:
        raise BenchmarkError(f"cannot read the memory of process {pid}: {error}") from error
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise BenchmarkError(f"process {pid} has ended")
