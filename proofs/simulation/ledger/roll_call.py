"""The statements of `ledger/delivery/roll_call.sql`: here the database is the same server for ever."""

from __future__ import annotations

from proofs.simulation.ledger.tables import Parameters, Rows, Tables


def size(tables: Tables, now: float, given: Parameters) -> Rows:
    return [(0,)]


def answer(tables: Tables, now: float, given: Parameters) -> Rows:
    return []


def complete(tables: Tables, now: float, given: Parameters) -> Rows:
    return []


def absent(tables: Tables, now: float, given: Parameters) -> Rows:
    return []


def leave(tables: Tables, now: float, given: Parameters) -> Rows:
    return []


def forget_silent(tables: Tables, now: float, given: Parameters) -> Rows:
    return []


def lost_windows(tables: Tables, now: float, given: Parameters) -> Rows:
    found = [tables.window.get(key) for key in zip(given["jobs"], given["chunks"], given["windows"], strict=True)]
    return [(sum(window is None or window.owner != given["owner"] for window in found),)]


def lost_outcomes(tables: Tables, now: float, given: Parameters) -> Rows:
    return [(sum(all(told.attempt_no != attempt_no for told in tables.outcome.get((job_id, position), ()))
                 for job_id, position, attempt_no in zip(given["jobs"], given["positions"], given["attempts"], strict=True)),)]


def lost_ends(tables: Tables, now: float, given: Parameters) -> Rows:
    return [(sum(not tables.job[job_id].status.is_over for job_id in given["jobs"]),)]
