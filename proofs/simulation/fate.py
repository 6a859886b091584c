"""What befalls a run, and when: all drawn from its seed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from postroom.domain.access import machine
from postroom.domain.outcome import Kind
from postroom.errors import Conflict
from postroom.flow.job import finish, pause
from postroom.ledger.account.accounts import lock_account
from postroom.ledger.job import jobs, settlements
from proofs.simulation.database import IDLE_IN_TRANSACTION_S_MAX, Pool
from proofs.simulation.time import Process
from proofs.simulation.worker import AWAY, DATABASE_RETRY_S, LEASE_S, work
from proofs.simulation.world import ACCOUNT, World

RESTART_S_MAX = 1.5
HEADER_OCTETS = 512
CLOCK_STEPS_S = (3600.0, -5.0, 86400.0)


class Fate:
    """`coming` counts the workers that are about to start again."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.coming = 0
        self._names = 0

    # -- what can happen

    def spawn(self, host: str) -> Process:
        self._names += 1
        process = Process(f"{host}:{self._names}", host)
        process.dies = lambda: self.world.loop.after(0, self.kill, process)
        self.world.workers[process] = None
        self.world.loop.start(work(self.world, process), process)
        return process

    def kill(self, process: Process, journal: str = "kept", again_on: str | None = None, again_in_s: float | None = None) -> None:
        """SIGKILL now. `journal`: kept, lost, or torn as by a power loss, which takes the whole machine."""
        world = self.world
        if process.is_dead:
            return
        world.note(f"{process.name} dies, journal {journal}")
        process.is_dead, process.was_killed, process.is_frozen = True, True, False
        world.gateway.in_doubt |= world.gateway.written.get(process.name, set())
        for link in [link for link in world.gateway.links if link.process is process]:
            link.cut()
        world.loop.after(world.chance.uniform(0, 0.01), world.database.forget, process)
        if journal == "lost":
            self._lose_journal(process)
        elif journal == "torn":
            self._cut_power(process.host)
        world.disk.let_go(process)
        self.coming += 1
        world.loop.after(again_in_s or world.chance.uniform(0.1, RESTART_S_MAX), self._start_again, again_on or process.host)

    def _start_again(self, host: str) -> None:
        self.coming -= 1
        self.spawn(host)

    def _lose_journal(self, process: Process) -> None:
        self.world.blind.add(process.name)
        for path in sorted((self.world.place / process.host).glob("*.journal")):
            if process.name.encode() + b"\0" in path.read_bytes()[:HEADER_OCTETS]:
                path.unlink()

    def _cut_power(self, host: str) -> None:
        """Everything on that machine dies, and of what its journals had not on the disk yet some is gone."""
        world = self.world
        world.boots[host] = world.chance.randbytes(16)
        mine = [process for process in world.workers if process.host == host]
        world.blind.update(process.name for process in mine)
        for path in sorted((world.place / host).glob("*.journal")):
            content = path.read_bytes()
            cut = world.chance.randrange(len(content) + 1)
            path.write_bytes(content[:cut] + bytes(len(content) - cut))
        for process in mine:
            self.kill(process)

    def freeze(self, process: Process, seconds: float, *, knows: bool) -> None:
        """`knows`: its clock went on meanwhile, as after SIGSTOP, and not after a suspended machine."""
        world = self.world
        if process.is_dead or process.is_frozen:
            return
        world.note(f"{process.name} freezes for {seconds:.1f} s")
        process.is_frozen, world.frozen_since[process] = True, world.loop.now

        def hang_up() -> None:
            for connection in [one for one in world.database.open if one.process is process and one.is_held]:
                connection.hang_up()

        def wake() -> None:
            if not process.is_dead:
                world.note(f"{process.name} wakes")
                process.slept_s += 0.0 if knows else seconds
                world.loop.wake(process)

        world.loop.after(min(seconds, IDLE_IN_TRANSACTION_S_MAX), hang_up)
        world.loop.after(seconds, wake)

    def ask(self, name: str, act: Callable[..., Awaitable[object]], job_id: int) -> None:
        """A person does something, until it is done or it cannot be; nothing but "resume" once it is calm."""
        world = self.world

        async def insist() -> None:
            pool: Any = Pool(world.database, None)
            while name == "resume" or world.loop.now < world.calm_at:
                try:
                    await act(pool, machine(ACCOUNT, "a person"), job_id)
                    world.note(f"a person says {name} to {job_id}")
                    return
                except Conflict:
                    return
                except AWAY:
                    await asyncio.sleep(DATABASE_RETRY_S)

        world.loop.start(insist())

    # -- what will happen

    def befall(self) -> None:
        """Draws it, and when."""
        self._befall_gateway_and_database()
        self._befall_workers()
        self._let_people_act()

    def _begin(self, what: Callable[[], object]) -> None:
        chance = self.world.chance
        self.world.loop.after(chance.choice((chance.uniform(0, 0.6), chance.uniform(0, self.world.calm_at))), what)

    def _befall_gateway_and_database(self) -> None:
        chance, gateway, database, loop = self.world.chance, self.world.gateway, self.world.database, self.world.loop
        if chance.random() < 0.7:
            gateway.refuses = chance.choice((0.01, 0.05, 0.2))
        if chance.random() < 0.6:
            gateway.breaks = chance.choice((0.005, 0.02, 0.1))
        if chance.random() < 0.15:
            self._begin(lambda: setattr(gateway, "unreachable_until", loop.now + chance.uniform(0.5, 5)))
        if chance.random() < 0.4:
            database.loses = chance.choice((0.002, 0.01, 0.05))
        if chance.random() < 0.3:
            self._begin(lambda: database.go_away(chance.uniform(0.2, 8)))
        if chance.random() < 0.1:
            self._begin(lambda: setattr(database, "step_s", chance.choice(CLOCK_STEPS_S)))

    def _befall_workers(self) -> None:
        world, chance = self.world, self.world.chance

        def some_worker() -> Process:
            return chance.choice([process for process in world.workers if not process.is_dead] or list(world.workers))

        def die() -> None:
            how, process = chance.choice(("soon", "soon", "late", "lost", "moved", "torn")), some_worker()
            if how == "soon":
                process.steps_left = chance.randrange(40)  # in the middle of whatever it does
            elif how == "late":
                self.kill(process, again_in_s=1.5 * LEASE_S)  # others take over, and then its journal comes back
            elif how == "moved":
                self.kill(process, "lost", again_on=chance.choice(list(world.boots)))
            else:
                self.kill(process, how)

        for _ in range(chance.choice((0, 0, 1, 1, 2, 4))):
            self._begin(die)
        for _ in range(chance.choice((0, 0, 0, 1, 2))):
            self._begin(lambda: self.freeze(some_worker(), chance.uniform(0.5, 2.5 * LEASE_S), knows=chance.random() < 0.8))

    def _let_people_act(self) -> None:
        chance, job_id = self.world.chance, self.world.chance.choice(list(self.world.tables.job))
        if chance.random() < 0.12:
            self._begin(lambda: self.ask("cancel", finish.cancel, job_id))
        for _ in range(chance.choice((0, 0, 1, 2))):
            self._begin(lambda: self.ask("send again", send_again, job_id))
        if chance.random() < 0.2:
            self._begin(lambda: self.ask("pause", pause.pause, job_id))
            self._begin(lambda: self.ask("resume", pause.resume, job_id))

    def calm(self) -> None:
        """From here on nothing more befalls anybody."""
        world = self.world
        world.note("calm")
        world.gateway.refuses = world.gateway.breaks = world.database.loses = 0.0
        for process in world.workers:
            process.steps_left = None
        for job_id in world.tables.job:
            world.loop.after(1.0, self.ask, "resume", pause.resume, job_id)


async def send_again(pool: Any, account_id: int, job_id: int, *, by: str) -> None:
    """What flow/job/settlement.py does in a job that is not over; in one that is, "assume sent"."""
    async with pool.connection() as conn, conn.transaction():
        await lock_account(conn, account_id)
        is_over = (await jobs.lock_job(conn, account_id, job_id)).status.is_over
        if doubted := await settlements.doubts(conn, account_id, job_id, None):
            await settlements.settle(conn, account_id, job_id, doubted, Kind.SENT if is_over else Kind.RELEASED, by)
