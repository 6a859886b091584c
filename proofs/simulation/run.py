"""One run of a world: its workers begin, things befall them, and after a while nothing more does. Then every job must come to its
end.
"""

from __future__ import annotations

import contextlib
import shutil

from postroom.domain.job import Status
from proofs.simulation import checks
from proofs.simulation.fate import Fate
from proofs.simulation.installed import installed
from proofs.simulation.ledger.tables import Lane
from proofs.simulation.time import Stuck, current
from proofs.simulation.worker import SETTLE_EVERY_S
from proofs.simulation.world import ACCOUNT, GATEWAY, HOSTS, LANES, World

PATIENCE_S = 1500.0
LOOK_EVERY_S = 0.2
ROUNDS_HOME = 10


class Run:
    """`run()` goes through it once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._fate = Fate(world)

    def _is_done(self) -> bool:
        world = self._world
        tables = world.database.tables
        jobs_are_over = all(job.status.is_over for job in tables.job.values()) and not any(
            chunk.window_open for chunk in tables.chunk.values())
        is_over = jobs_are_over and world.loop.now > world.calm_at and not self._fate.coming and not any(
            process.is_frozen or (not process.is_dead and (deliveries is None or deliveries._held))
            for process, deliveries in world.workers.items())
        if not is_over:
            world.over_since = None
            return bool(world.faults) or world.loop.now > world.calm_at + PATIENCE_S
        world.over_since = world.over_since or world.loop.now
        return world.loop.now > world.over_since + 3 * SETTLE_EVERY_S  # what the dead knew is settled by then

    def run(self) -> None:
        """Fills the world's `faults`."""
        world, chance = self._world, self._world.chance
        world.tables.account[ACCOUNT] = None
        world.tables.gateway[GATEWAY] = chance.choice((2, 4, 8))
        world.job(1, chance.randrange(5, 80), Status.SENDING)
        if chance.random() < 0.4:
            world.job(2, chance.randrange(3, 40), Status.QUEUED)
        for _ in range(LANES):
            world.tables.lane[world.tables.draw("lane")] = Lane(ACCOUNT, 1)
        world.calm_at = chance.uniform(1, 6)
        world.loop.after(world.calm_at, self._fate.calm)
        with installed(world.loop, world.disk, world.gateway.open_session, self._boot_id, world.seed):
            try:
                for host in ("alder", chance.choice(HOSTS))[:chance.choice((1, 2, 2))]:
                    self._fate.spawn(host)
                self._fate.befall()
                world.loop.run_until(self._is_done, LOOK_EVERY_S)
            except Stuck:
                world.faults.append("nothing moves any more")
            world.faults += checks.broken(world)
            world.faults += world.loop.failures
            self._go_home()

    def _boot_id(self) -> bytes:
        process = current()
        return self._world.boots[process.host] if process is not None else bytes(16)

    def _go_home(self) -> None:
        """Ends what still runs, the dead too, so that nothing of it comes up later."""
        world = self._world
        world.database.is_over = True
        for process in world.workers:
            process.is_dead = False
            world.loop.wake(process)
            process.steps_left, process.dies = 0, lambda: None
        with contextlib.suppress(Stuck):
            for _ in range(ROUNDS_HOME):
                for task in world.loop.tasks:
                    task.cancel()
                world.loop.run_until(lambda: not world.loop.is_busy())
        world.disk.close_all()
        shutil.rmtree(world.place, ignore_errors=True)
        world.loop.close()
