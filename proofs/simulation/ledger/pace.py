"""The statements of `ledger/delivery/pace.sql`: connections as they are; rates and quotas are not modelled, and grant all."""

from __future__ import annotations

from postroom.ledger.delivery.pace import Pace as Told
from proofs.simulation.ledger.tables import Pace, Parameters, Rows, Tables

ONE_MORE_EVERY_S = 60


def create_pace(tables: Tables, now: float, given: Parameters) -> Rows:
    tables.pace.setdefault(given["gateway_id"], Pace())
    return []


def look(tables: Tables, now: float, given: Parameters) -> list[dict[str, object]]:
    return [{name: getattr(Told(None, None, None, 0), name) for name in Told.__dataclass_fields__}]


def take_permits(tables: Tables, now: float, given: Parameters) -> list[dict[str, object]]:
    return [{"granted": int(given["wanted"]), "wait_s": 0.0, "held_by": None, "quota": None, "warming_up": False}]


def give_back(tables: Tables, now: float, given: Parameters) -> Rows:
    return []


def slow_down(tables: Tables, now: float, given: Parameters) -> Rows:
    return []


def hold_pace(tables: Tables, now: float, given: Parameters) -> Rows:
    return [(1,)]


def take_slot(tables: Tables, now: float, given: Parameters) -> Rows:
    gateway_id, most = given["gateway_id"], tables.gateway[given["gateway_id"]]
    pace = tables.pace[gateway_id]
    if pace.connections is not None:
        most = min(most, pace.connections + int((now - pace.connections_at) / ONE_MORE_EVERY_S))
    for slot in range(1, most + 1):
        held = tables.slot.get((gateway_id, slot))
        if held is None or held[1] < now:
            tables.slot[gateway_id, slot] = given["owner"], now + given["lease_s"]
            return [(slot, None)]
    return []


def free_slot(tables: Tables, now: float, given: Parameters) -> Rows:
    key = given["gateway_id"], given["slot"]
    if key in tables.slot and tables.slot[key][0] == given["owner"]:
        del tables.slot[key]
    return []


def free_slots_of(tables: Tables, now: float, given: Parameters) -> Rows:
    for key in [key for key, (owner, _) in tables.slot.items() if owner == given["owner"]]:
        del tables.slot[key]
    return []


def renew_slots(tables: Tables, now: float, given: Parameters) -> Rows:
    for key in zip(given["gateways"], given["slots"], strict=True):
        if key in tables.slot and tables.slot[key][0] == given["owner"]:
            tables.slot[key] = given["owner"], now + given["lease_s"]
    return []


def fewer_connections(tables: Tables, now: float, given: Parameters) -> Rows:
    others = sum(key[0] == given["gateway_id"] and until >= now for key, (_, until) in tables.slot.items()) - 1
    if others < 1:
        return []
    tables.pace[given["gateway_id"]] = Pace(others, now)
    return [(others,)]
