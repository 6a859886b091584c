"""The same message from two processes is the same to the byte, whatever each has in its environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from postroom.message.wire.dkim import RSA, generate

from .write_mail import CONTENTS, PEOPLE

ENVIRONMENTS = [
    {"PYTHONHASHSEED": "1", "TZ": "UTC", "LC_ALL": "C", "PYTHONUTF8": "0"},
    {"PYTHONHASHSEED": "2", "TZ": "Asia/Kathmandu", "LC_ALL": "C.UTF-8", "PYTHONUTF8": "1", "PYTHONOPTIMIZE": "1"},
    {"PYTHONHASHSEED": "3", "TZ": "America/St_Johns", "LC_ALL": "tr_TR.UTF-8", "LANG": "de_DE.UTF-8"},
]


def test_two_processes_make_the_same_bytes_for_every_kind_of_message() -> None:
    key = generate(RSA)[0]
    outputs = []
    for environment in ENVIRONMENTS:
        for order in ("forwards", "backwards"):
            command = [sys.executable, str(Path(__file__).with_name("write_mail.py")), order]
            ended = subprocess.run(command, input=key, env=os.environ | environment, capture_output=True, text=True, check=True)
            outputs.append(json.loads(ended.stdout))
    assert len(outputs[0]) == len(CONTENTS) * len(PEOPLE)
    assert all(first == second for first, second in outputs[0].values()), "nor does a second attempt make others"
    assert len({first for first, _ in outputs[0].values()}) == len(outputs[0]), "no two messages are the same"
    assert all(output == outputs[0] for output in outputs)
