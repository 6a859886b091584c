"""The Celery application of the Celery peer: one task, one recipient, one mail, as most projects write it.

Configured by the environment, since the worker is a process of its own: BENCH_BROKER, BENCH_SMTP_HOST, BENCH_SMTP_PORT,
BENCH_DONE (a file that grows by one byte for each mail that was sent).
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import django_settings
from celery import Celery

app = Celery("bench", broker=os.environ["BENCH_BROKER"])
app.conf.update(task_ignore_result=True, worker_hijack_root_logger=False, broker_connection_retry_on_startup=True)
if app.conf.broker_url.startswith("filesystem://"):
    folder = os.environ["BENCH_FOLDER"]
    app.conf.broker_transport_options = {
        "data_folder_in": folder, "data_folder_out": folder, "control_folder": f"{folder}-control"
    }  # fmt: skip


@cache
def composer() -> django_settings.Composer:
    django_settings.set_up(os.environ["BENCH_SMTP_HOST"], int(os.environ["BENCH_SMTP_PORT"]))
    return django_settings.Composer()


@app.task
def send_one(index: int) -> None:
    composer().compose(index).send()
    with Path(os.environ["BENCH_DONE"]).open("ab", buffering=0) as done:
        done.write(b".")
