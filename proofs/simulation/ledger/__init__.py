"""The ledger in memory, at the height of its statements: `ledger/*.py` of Postroom runs as it is, and each named query that it
executes is one function here. A query without its function is said by its name when it is executed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from postroom.ledger.account import accounts
from postroom.ledger.check import preflight
from postroom.ledger.database import installation as real_installation
from postroom.ledger.delivery import clock
from postroom.ledger.delivery import pace as real_pace
from postroom.ledger.delivery import retries as real_retries
from postroom.ledger.delivery import roll_call as real_roll_call
from postroom.ledger.delivery import windows as real_windows
from postroom.ledger.job import jobs as real_jobs
from postroom.ledger.job import pauses as real_pauses
from postroom.ledger.job import settlements as real_settlements
from proofs.simulation.ledger import installation, jobs, pace, retries, roll_call, windows
from proofs.simulation.ledger.tables import Parameters, Tables

Act = Callable[[Tables, float, Parameters], Sequence[Any]]


def _lock_account(tables: Tables, now: float, given: Parameters) -> Sequence[Any]:
    return [(given["account_id"],)] if given["account_id"] in tables.account else []


def _nothing(tables: Tables, now: float, given: Parameters) -> Sequence[Any]:
    return []


def _statements() -> dict[str, tuple[str, Act]]:
    found: dict[str, tuple[str, Act]] = {accounts.SQL.lock_account: ("lock_account", _lock_account),
                                         preflight.SQL.jobs_to_check: ("jobs_to_check", _nothing),
                                         # nobody sets it there
                                         clock.SQL.look: ("look_at_clock", _nothing),
                                         clock.SQL.bound: ("bound", _nothing)}
    pairs: tuple[tuple[ModuleType, ModuleType], ...] = (
        (real_windows, windows), (real_jobs, jobs), (real_pauses, jobs),
        (real_pace, pace), (real_installation, installation), (real_roll_call, roll_call),
        (real_retries, retries), (real_settlements, retries))
    for real, model in pairs:
        for name, text in vars(real.SQL).items():
            if (act := getattr(model, name, None)) is not None:
                found[text] = name, act
    return found


STATEMENTS = _statements()
