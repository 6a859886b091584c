"""Runs Python in a process of its own, which the kernel ends after `CPU_MAX_S`: what is quadratic takes minutes or hours."""

from __future__ import annotations

import subprocess
import sys

CPU_MAX_S = 20
_LIMITS = f"import resource; resource.setrlimit(resource.RLIMIT_CPU, ({CPU_MAX_S}, {CPU_MAX_S}))\n"


def printed(script: str) -> str:
    """Return what `script` prints. Fails if it fails, or is ended."""
    ended = subprocess.run([sys.executable, "-c", _LIMITS + script], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"ended by {ended.returncode}: {ended.stderr[-2_000:]}"
    return ended.stdout
