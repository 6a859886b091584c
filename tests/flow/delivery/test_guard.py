"""A database that is not the newest one is noticed, and nothing is sent on its word."""

from __future__ import annotations

import asyncio
import fcntl
from pathlib import Path

import pytest

from acting import acting
from desk import Desk
from doomed import OWNER, Doomed, doomed, guard, lose, names, paused
from postroom.domain.job import Status
from postroom.domain.outcome import Evidence, Kind, Outcome
from postroom.errors import Unavailable
from postroom.flow.delivery import guard as guarding
from postroom.flow.delivery.guard import ABSENT, BEHIND, RESTORED, UNKNOWN, Guard, trust
from postroom.flow.job import finish, pause
from postroom.gateway.journal import RECORDS
from postroom.ledger.database import db
from postroom.ledger.delivery import roll_call, windows


@pytest.fixture
def desk(pool: db.Pool, database: str) -> Desk:
    return Desk(pool, database)


async def restore(desk: Desk, beat: int) -> None:
    """The database of a backup that was made at that beat."""
    await desk.query("UPDATE installation SET beat = %s RETURNING 1", beat)


async def test_a_machine_counts_on_with_its_database_and_pauses_nothing(desk: Desk, tmp_path: Path) -> None:
    await desk.submit(await desk.account(), 3)
    directory = tmp_path / "home" / "journal"
    seen = [await guard(desk.pool, directory) for _ in range(3)]
    assert [one.beat for one in seen] == [1, 2, 3]
    assert (directory / "mark").read_text() == f"{seen[0].id.hex()} 3\n"
    assert await paused(desk) == {}


async def test_workers_of_one_machine_that_look_at_once_raise_no_alarm(desk: Desk, tmp_path: Path) -> None:
    await desk.submit(await desk.account(), 3)
    for _ in range(5):
        seen = await asyncio.gather(*(guard(desk.pool, tmp_path) for _ in range(6)))
    assert max(one.beat for one in seen) == 30
    assert await paused(desk) == {}


async def test_under_a_restored_backup_all_jobs_that_may_send_are_paused_and_it_is_said_once(desk: Desk, tmp_path: Path) -> None:
    account, other = await desk.account(), await desk.account("Other")
    over = await desk.submit(account, 3)
    await finish.cancel(desk.pool, acting(account, "me"), over.id)
    jobs = [await desk.submit(account, 3), await desk.submit(account, 3), await desk.submit(account, 100),
            await desk.submit(other, 3)]
    for _ in range(7):
        await guard(desk.pool, tmp_path)
    await restore(desk, 4)
    seen = await guard(desk.pool, tmp_path)
    assert seen.beat == 8, "above all that this machine had seen"
    assert await paused(desk) == {job.id: "postroom" for job in jobs}
    (reasons,) = zip(*await desk.query("SELECT DISTINCT reason FROM job_condition"), strict=True)
    assert reasons == (RESTORED,)
    async with desk.pool.connection() as conn:
        assert await windows.claim_chunk(conn, account, jobs[0].id, owner="one", lease_s=60) is None
    await desk.query("DELETE FROM job_condition RETURNING 1")  # a person looked, and lets them go on
    assert (await guard(desk.pool, tmp_path)).beat == 9
    assert await paused(desk) == {}


async def test_a_backup_of_the_very_last_beat_is_no_step_back(desk: Desk, tmp_path: Path) -> None:
    await desk.submit(await desk.account(), 3)
    for _ in range(3):
        await guard(desk.pool, tmp_path)
    await restore(desk, 3)
    assert (await guard(desk.pool, tmp_path)).beat == 4
    await restore(desk, 3)
    await guard(desk.pool, tmp_path)
    assert len(await paused(desk)) == 1


async def test_under_a_restored_backup_the_journals_of_the_dead_are_set_aside(desk: Desk, tmp_path: Path) -> None:
    at = await doomed(desk, tmp_path)
    at.hear(at.window.recipients[0], Kind.SENT, 250, "Ok")
    for _ in range(3):
        await guard(desk.pool, tmp_path)
    path = at.die()
    await restore(desk, 1)
    await guard(desk.pool, tmp_path)
    assert await at.settle() == 0
    assert path.with_name(f"{path.name}.newer-than-the-database").exists()
    assert await at.states() == []


@pytest.mark.parametrize("mark", [None, "", "nonsense", "00112233445566778899aabbccddeeff 999\n"])
async def test_a_mark_that_is_unknown_is_just_written(desk: Desk, tmp_path: Path, mark: str | None) -> None:
    await desk.submit(await desk.account(), 3)
    if mark is not None:
        (tmp_path / "mark").write_text(mark)
    seen = await guard(desk.pool, tmp_path)
    assert (tmp_path / "mark").read_text() == f"{seen.id.hex()} {seen.beat}\n"
    assert await paused(desk) == {}


async def test_a_mark_that_somebody_else_is_writing_is_left_to_the_next_round(desk: Desk, tmp_path: Path) -> None:
    await guard(desk.pool, tmp_path)
    with (tmp_path / "mark.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        seen = await guard(desk.pool, tmp_path)
        assert (tmp_path / "mark").read_text().endswith(" 1\n")
    assert seen.beat == 2
    await guard(desk.pool, tmp_path)
    assert (tmp_path / "mark").read_text().endswith(" 3\n")


async def test_a_guard_that_cannot_remember_says_where_and_why(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "journal").touch()
    with pytest.raises(Unavailable, match=r"journal/mark cannot be written: .*Make room"):
        await guard(desk.pool, tmp_path / "journal")


async def test_a_guard_that_was_interrupted_goes_through_with_it_the_next_time(desk: Desk, tmp_path: Path) -> None:
    account = await desk.account()
    job = await desk.submit(account, 3)
    for _ in range(3):
        await guard(desk.pool, tmp_path)
    await restore(desk, 0)
    async with desk.pool.connection() as conn, conn.transaction():
        await conn.execute("SELECT FROM account FOR UPDATE")
        guarding = asyncio.create_task(guard(desk.pool, tmp_path))
        await asyncio.sleep(0.1)  # long enough to be in the middle, where it waits for this lock
        guarding.cancel()
        await asyncio.gather(guarding, return_exceptions=True)
    assert await paused(desk) == {}
    await guard(desk.pool, tmp_path)
    assert await paused(desk) == {job.id: "postroom"}
    assert (await desk.query("SELECT status FROM job"))[0][0] == Status.SENDING


# -- what a process heard of last ---------------------------------------------------------------------------------------


async def witness(desk: Desk, directory: Path) -> tuple[Doomed, Guard]:
    """A living worker that has opened a window and booked another one."""
    at = await doomed(desk, directory)
    at.hear(at.window.recipients[0], Kind.SENT, 250, "Ok")
    watch = Guard(desk.pool, directory, OWNER, lease_s=30, journal=at.journal)
    outcomes = [Outcome(one.position, 1, Kind.FAILED, Evidence.REPLY, 550) for one in at.window.recipients]
    async with desk.pool.connection() as conn:
        await windows.turn_window(conn, at.claim, outcomes, 0)
    watch.witness.opened(at.key)
    watch.witness.booked(at.claim, outcomes)
    return at, watch


@pytest.mark.parametrize("lost", [
    "DELETE FROM hand_off_window", "UPDATE hand_off_window SET owner = 'another'", "DELETE FROM outcome"])
async def test_a_database_that_lacks_what_this_process_heard_of_pauses_every_job_and_the_journal_is_kept(
        desk: Desk, tmp_path: Path, lost: str) -> None:
    at, watch = await witness(desk, tmp_path)
    await lose(desk, lost)
    await watch.look()
    assert await paused(desk) == {at.job.id: "postroom"}
    assert await desk.query("SELECT reason FROM job_condition") == [(RESTORED,)]
    at.journal.booked(at.intent)
    await watch.look()
    assert len([name for name in names(tmp_path) if name.endswith(".newer-than-the-database")]) == 1
    await pause.resume(desk.pool, acting(at.job.account_id, "me"), at.job.id)
    await watch.look()
    assert await paused(desk) == {}, "it is said once"


async def test_what_is_booked_of_a_journal_stays_until_the_mark_is_written(desk: Desk, tmp_path: Path) -> None:
    at, watch = await witness(desk, tmp_path)
    at.journal.intend(at.key._replace(window_no=2), (RECORDS - 1) // 2)  # leaves no room in the first segment
    at.journal.booked(at.intent)
    before = names(tmp_path)
    (tmp_path / "mark.new").mkdir()
    with pytest.raises(Unavailable):
        await watch.look()
    assert set(before) <= set(names(tmp_path))
    (tmp_path / "mark.new").rmdir()
    await watch.look()
    assert len(set(before) & set(names(tmp_path))) == 1


async def test_a_cancel_that_was_heard_of_and_that_the_database_lacks_pauses_every_job(desk: Desk, tmp_path: Path) -> None:
    at, watch = await witness(desk, tmp_path)
    watch.witness.ended(at.job.id)
    await watch.look()
    assert await paused(desk) == {at.job.id: "postroom"}


async def test_what_is_there_pauses_nothing_and_is_not_looked_for_again(desk: Desk, tmp_path: Path) -> None:
    at, watch = await witness(desk, tmp_path)
    await finish.cancel(desk.pool, acting(at.job.account_id, "me"), at.job.id)
    watch.witness.ended(at.job.id)
    await desk.submit(at.job.account_id, 4)
    await watch.look()
    await lose(desk, "DELETE FROM outcome")  # the beat stands for it now
    await watch.look()
    assert await paused(desk) == {}


async def test_a_dead_worker_whose_window_the_database_lacks_pauses_every_job_and_its_journal_is_kept(
        desk: Desk, tmp_path: Path) -> None:
    at = await doomed(desk, tmp_path)
    at.hand_over(at.window.recipients[0])
    path = at.die()
    await lose(desk, "DELETE FROM hand_off_window")
    assert await at.settle() == 0
    assert await paused(desk) == {at.job.id: "postroom"}
    assert names(tmp_path) == [f"{path.name}.newer-than-the-database"]
    await desk.query("DELETE FROM job_condition RETURNING 1")
    await at.settle()
    assert await paused(desk) == {}


async def test_a_dead_worker_that_only_intended_a_window_pauses_nothing(desk: Desk, tmp_path: Path) -> None:
    at = await doomed(desk, tmp_path)
    at.die()
    await lose(desk, "DELETE FROM hand_off_window")
    await lose(desk, "UPDATE chunk SET window_open = false, owner = NULL, lease_until = NULL")
    await at.settle()
    assert await paused(desk) == {}
    assert names(tmp_path) == []


# -- the roll call after a fail-over -------------------------------------------------------------------------------------


async def fail_over(desk: Desk) -> None:
    """Another server goes on as the database: for each worker it is not the one that it answered on."""
    await desk.query("UPDATE installation SET timeline = '1/1/before' RETURNING 1")
    await desk.query("UPDATE worker SET timeline = '1/1/before' RETURNING 1")


async def claims(desk: Desk, account: int, job_id: int) -> bool:
    async with desk.pool.connection() as conn:
        return await windows.claim_chunk(conn, account, job_id, owner="one", lease_s=60) is not None


async def test_no_chunk_is_given_out_on_another_server_before_every_worker_has_looked_at_it(desk: Desk, tmp_path: Path) -> None:
    account = await desk.account(connections=4)
    job = await desk.submit(account, 8)
    one, other = (Guard(desk.pool, tmp_path / name, name, lease_s=600) for name in ("one", "other"))
    await one.look()
    await other.look()
    assert await claims(desk, account, job.id)
    await fail_over(desk)
    assert not await claims(desk, account, job.id)
    await one.look()
    assert await one.is_called()
    assert not await claims(desk, account, job.id)
    await other.look()
    assert not await one.is_called()
    assert await claims(desk, account, job.id)
    assert await paused(desk) == {}


async def test_a_worker_that_ended_properly_or_whose_journal_was_read_is_not_waited_for(desk: Desk, tmp_path: Path) -> None:
    at = await doomed(desk, tmp_path)
    for name in (OWNER, "gone"):
        await Guard(desk.pool, tmp_path, name, lease_s=600).look()
    await Guard(desk.pool, tmp_path, "gone", lease_s=600).last_look()
    await fail_over(desk)
    at.die()
    await at.settle()
    last = Guard(desk.pool, tmp_path, "last", lease_s=600)
    await last.look()
    assert not await last.is_called()
    assert await paused(desk) == {}


@pytest.mark.parametrize("standbys", ["", "'*'"])
async def test_for_a_worker_that_does_not_answer_a_person_does_unless_a_standby_had_all_of_it(
        desk: Desk, tmp_path: Path, standbys: str) -> None:
    account = await desk.account(connections=4)
    job = await desk.submit(account, 8)
    gone, here = (Guard(desk.pool, tmp_path / name, name, lease_s=0) for name in ("gone", "here"))
    await gone.look()
    await here.look()
    await fail_over(desk)
    if standbys:
        await desk.query("UPDATE worker SET is_synchronous = true RETURNING 1")
    await here.look()
    await here.look()
    assert not await here.is_called()
    assert await paused(desk) == ({} if standbys else {job.id: "postroom"})
    if not standbys:
        assert await desk.query("SELECT reason FROM job_condition") == [(ABSENT % "gone",)]
    await gone.look()
    assert len(await desk.query("SELECT owner FROM worker")) == 2, "who comes back is one of them again"


async def test_a_server_that_only_started_anew_waits_a_moment_for_who_does_not_answer_and_pauses_nothing(
        desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    account = await desk.account(connections=4)
    job = await desk.submit(account, 8)
    gone, here = (Guard(desk.pool, tmp_path / name, name, lease_s=600) for name in ("gone", "here"))
    await gone.look()
    await here.look()
    await desk.query("UPDATE installation SET timeline = regexp_replace(timeline, '[^/]*$', '1') RETURNING 1")
    await desk.query("UPDATE worker SET timeline = regexp_replace(timeline, '[^/]*$', '1') RETURNING 1")
    await here.look()
    assert not await claims(desk, account, job.id)
    monkeypatch.setattr(guarding, "RESTART_PATIENCE_S", 0)
    await here.look()
    assert await claims(desk, account, job.id)
    assert await paused(desk) == {}


async def test_a_machine_that_is_gone_for_good_is_forgotten(desk: Desk, tmp_path: Path) -> None:
    gone, here = (Guard(desk.pool, tmp_path / name, name, lease_s=0) for name in ("gone", "here"))
    await gone.look()
    await desk.query("UPDATE worker SET seen_at = seen_at - interval '11 minutes' RETURNING 1")
    await here.look()
    assert await desk.query("SELECT owner FROM worker") == [("here",)]


async def test_whether_commits_wait_for_a_standby_is_noted_with_the_answer(desk: Desk) -> None:
    async with desk.pool.connection() as conn:
        await roll_call.answer(conn, "one", 30)
    assert await desk.query("SELECT is_synchronous FROM worker") == [(False,)]


# -- a machine that has never seen the database ---------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarding, "SIGNS_OF_LIFE_WITHIN_S", 0.5)
    monkeypatch.setattr(guarding, "LOOK_EVERY_S", 0.05)


def newcomer(desk: Desk, directory: Path) -> Guard:
    return Guard(desk.pool, directory, "new", lease_s=30)


async def test_a_new_machine_that_finds_jobs_and_nobody_at_work_pauses_them_until_a_person_trusts_the_database(
        desk: Desk, tmp_path: Path, impatient: None) -> None:
    account, other = await desk.account(), await desk.account("Other")
    jobs = [await desk.submit(account, 3), await desk.submit(account, 3), await desk.submit(other, 100)]
    await guard(desk.pool, tmp_path / "old")
    await newcomer(desk, tmp_path / "new").first_look()
    assert await paused(desk) == {job.id: "postroom" for job in jobs}
    assert await desk.query("SELECT DISTINCT reason FROM job_condition") == [(UNKNOWN,)]
    assert await trust(desk.pool, tmp_path / "new", by="me") == [(job.account_id, job.id) for job in jobs]
    assert await paused(desk) == {}
    await newcomer(desk, tmp_path / "new").first_look()
    assert await paused(desk) == {}


async def test_trusting_the_database_before_the_first_worker_starts_pauses_nothing(
        desk: Desk, tmp_path: Path, impatient: None) -> None:
    await desk.submit(await desk.account(), 3)
    await guard(desk.pool, tmp_path / "old")
    assert await trust(desk.pool, tmp_path / "new", by="me") == []
    await newcomer(desk, tmp_path / "new").first_look()
    assert await paused(desk) == {}


async def test_what_a_person_paused_stays_paused_when_a_database_is_trusted(desk: Desk, tmp_path: Path, impatient: None) -> None:
    account = await desk.account()
    job = await desk.submit(account, 3)
    await pause.pause(desk.pool, acting(account, "me"), job.id, reason="Wait for the boss.")
    await guard(desk.pool, tmp_path / "old")
    await newcomer(desk, tmp_path / "new").first_look()
    assert await desk.query("SELECT reason FROM job_condition") == [(f"Wait for the boss. {UNKNOWN}",)]
    assert await trust(desk.pool, tmp_path / "new", by="me") == []
    assert await paused(desk) == {job.id: "me"}


async def test_a_new_machine_joins_others_that_are_at_work(desk: Desk, tmp_path: Path, impatient: None) -> None:
    await desk.submit(await desk.account(), 3)
    await guard(desk.pool, tmp_path / "old")
    joining = asyncio.create_task(newcomer(desk, tmp_path / "new").first_look())
    while not joining.done():
        await guard(desk.pool, tmp_path / "old")
        await asyncio.sleep(0.05)
    await joining
    assert await paused(desk) == {}


@pytest.mark.parametrize("under_way", [True, False])
async def test_a_new_machine_is_at_home_in_a_new_database_and_in_one_where_nothing_is_under_way(
        desk: Desk, tmp_path: Path, impatient: None, under_way: bool) -> None:
    account = await desk.account()
    job = await desk.submit(account, 3)
    if not under_way:
        await guard(desk.pool, tmp_path / "old")
        await finish.cancel(desk.pool, acting(account, "me"), job.id)
    await newcomer(desk, tmp_path / "new").first_look()
    assert await paused(desk) == {}


async def test_a_machine_that_was_away_while_others_worked_pauses_what_it_finds_where_nobody_is_at_work(
        desk: Desk, tmp_path: Path, impatient: None) -> None:
    """It may be a copy that is older than their work: what they sent since is in their journals, which are not here."""
    job = await desk.submit(await desk.account(), 3)
    await guard(desk.pool, tmp_path / "mine")
    for _ in range(20):
        await guard(desk.pool, tmp_path / "theirs")
    await newcomer(desk, tmp_path / "mine").first_look()
    assert await desk.query("SELECT job_id, reason FROM job_condition") == [(job.id, BEHIND)]
    assert await trust(desk.pool, tmp_path / "mine", by="me") == [(job.account_id, job.id)]
    await newcomer(desk, tmp_path / "mine").first_look()
    assert await paused(desk) == {}


@pytest.mark.parametrize(("workers", "missed", "may_be_old"), [(1, 3, False), (1, 4, True), (2, 6, False), (2, 7, True)])
async def test_one_that_was_killed_may_have_missed_three_beats_of_each_worker_and_no_more(
        desk: Desk, tmp_path: Path, impatient: None, workers: int, missed: int, may_be_old: bool) -> None:
    await desk.submit(await desk.account(), 3)
    for number in range(workers):
        seen = await guard(desk.pool, tmp_path, f"host:{number}:abc")
    await restore(desk, seen.beat + missed)
    await newcomer(desk, tmp_path).first_look()
    assert await desk.query("SELECT reason FROM job_condition") == ([(BEHIND,)] if may_be_old else [])


async def test_a_machine_that_has_seen_another_database_has_never_seen_this_one(
        desk: Desk, tmp_path: Path, impatient: None) -> None:
    await desk.submit(await desk.account(), 3)
    await guard(desk.pool, tmp_path / "theirs")
    (tmp_path / "mark").write_text(f"{bytes(16).hex()} 99\n")
    await newcomer(desk, tmp_path).first_look()
    assert await desk.query("SELECT reason FROM job_condition") == [(UNKNOWN,)]


async def test_a_machine_that_was_away_joins_others_that_are_at_work(desk: Desk, tmp_path: Path, impatient: None) -> None:
    await desk.submit(await desk.account(), 3)
    await guard(desk.pool, tmp_path / "mine")
    for _ in range(20):
        await guard(desk.pool, tmp_path / "theirs")
    joining = asyncio.create_task(newcomer(desk, tmp_path / "mine").first_look())
    while not joining.done():
        await guard(desk.pool, tmp_path / "theirs")
        await asyncio.sleep(0.05)
    await joining
    assert await paused(desk) == {}


async def test_a_machine_that_lost_its_mark_still_settles_by_its_journals(desk: Desk, tmp_path: Path, impatient: None) -> None:
    at = await doomed(desk, tmp_path)
    await guard(desk.pool, tmp_path)
    at.hear(at.window.recipients[0], Kind.SENT, 250, "Ok")
    at.die()
    (tmp_path / "mark").unlink()
    await newcomer(desk, tmp_path).first_look()
    assert await paused(desk) == {at.job.id: "postroom"}
    assert await at.settle() == 1
    assert await at.counts() == (1, 0, 0, 15)
