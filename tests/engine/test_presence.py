"""An engine and the others: records that acknowledge halts, one writer, leases and halts that hosts share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from mmctl.clock import SystemClock
from mmctl.core.order import CancelOrder, Layer, NewOrder, State
from mmctl.core.report import Faulted, Skipped
from mmctl.engine.everywhere import resume_everywhere, set_everywhere
from mmctl.engine.folder_presence import WRITE_EVERY_S, FolderPresence
from mmctl.engine.halt import FileHaltLatch
from mmctl.engine.loop import Limits
from mmctl.engine.records import decoded
from mmctl.engine.registered import EngineState, Life, engines
from mmctl.errors import PairHeld
from mmctl.ports import Halt, HaltScope

from .shared_fake import FakeServer, FakeShared
from .world import SURE, VIRTUAL, World, both, make_world, near, now_s, pair_spec, prepare

pytestmark = VIRTUAL

LANDING_S = 10.0
LEASE_S = LANDING_S + 10.0
ALL = HaltScope("mock", "main")
NEAR = HaltScope("mock", "main", layer=Layer.NEAR)


class BootClock(SystemClock):
    """The clock of a machine that can be suspended: its loop stands still then, as far as it knows."""

    def __init__(self) -> None:
        super().__init__(wall_offset_ms=1_700_000_000_000)
        self.suspended_s = 0.0

    def boot_s(self) -> float:
        return self.monotonic() + self.suspended_s


class Host:
    """One engine on a machine of its own, with its own state folder and its own way to the shared store."""

    def __init__(self, folder: Path, server: FakeServer | None = None, *, specs: Sequence[object] = ()) -> None:
        options = replace(SURE, landing_time_s=LANDING_S)
        self.world = make_world(folder, *(specs or (both(),)), options=options)  # type: ignore[arg-type]
        self.folder = folder
        self.clock = BootClock()
        self.shared = None if server is None else FakeShared(server)
        self.presence = FolderPresence(
            folder, self.world.venue, self.clock, self.world.latch, self.world.desk.report, shared=self.shared
        )
        self.world.desk.presence = self.presence

    async def start(self) -> None:
        await prepare(self.world)
        self.world.start()

    def state(self) -> EngineState:
        (state,) = engines(self.folder, "mock", "main", self.clock)
        return state

    def placements(self, after_s: float = 0.0) -> int:
        return sum(len(sent.places) for sent in self.world.venue.sent if sent.at_s >= after_s)

    def skips(self, after_s: float = 0.0) -> list[Skipped]:
        return self.world.told(Skipped, after_s=after_s)

    async def kill(self) -> None:
        """As ``kill -9``: nothing more of it happens."""
        self.presence.abandon()
        tasks = [task for task in (self.world.running, *self.world.engine._guards) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def end(self) -> None:
        if self.world.running is not None:
            await self.world.stop()
        await self.world.venue.close()


MakeHost = Callable[..., Host]


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[MakeHost]:
    made: list[Host] = []

    def make(name: str = "a", server: FakeServer | None = None, **options: object) -> Host:
        made.append(Host(tmp_path / name, server, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        if one.presence._file is not None:
            await one.end()
        else:
            await one.world.venue.close()


@asynccontextmanager
async def quoting(one: Host) -> AsyncIterator[World]:
    await one.start()
    await asyncio.sleep(3)
    yield one.world


async def test_a_record_tells_of_whatever_holds_the_whole_engine(host: MakeHost) -> None:
    one = host()
    async with quoting(one) as world:
        world.journal.fault = "the journal was moved or removed"
        await asyncio.sleep(1)
        record = one.state().record
        assert record is not None
        assert record.held == world.journal.fault
        world.journal.fault = ""
        world.halt(layer=Layer.NEAR)
        await asyncio.sleep(1)
        assert [one.state().record.held, one.state().record.pairs[0].held] == ["", ""], "far still may"  # type: ignore[union-attr]
        world.halt(layer=Layer.FAR)
        await asyncio.sleep(1)
        assert "by anna" in one.state().record.held  # type: ignore[union-attr]


# The state folder


async def test_an_engine_says_how_it_is(host: MakeHost) -> None:
    one = host()
    async with quoting(one) as world:
        state = one.state()
        assert state.life is Life.LIVE
        record = state.record
        assert record is not None
        assert (record.epoch, record.account, record.mode) == (world.desk.epoch, "main", "mock")
        (pair,) = record.pairs
        assert [(layer.layer, layer.resting, layer.unanswered) for layer in pair.layers] == [
            (Layer.NEAR, 6, 0),
            (Layer.FAR, 4, 0),
        ]
        assert record.interval_s == 3.0
        assert state.age_s is not None
        assert state.age_s <= WRITE_EVERY_S
        assert record.held == ""
    await one.end()
    assert engines(one.folder, "mock", "main", one.clock) == []
    assert [state.life for state in engines(one.folder, "mock", "main", one.clock, ended=True)] == [Life.ENDED]


async def test_an_engine_that_could_not_stop_leaves_its_record(host: MakeHost) -> None:
    """Own orders rest that were to go, and whoever watches has to see that nobody minds them."""
    server = FakeServer()
    one = host(server=server)
    async with quoting(one) as world:
        world.venue.submit = lambda places, cancels: None  # type: ignore[method-assign]
        stopping = asyncio.create_task(world.stop(deadline_s=30.0))
        await asyncio.sleep(25)
        assert (one.state().progress_age_s or 9.9) < 1.3, "it sweeps, and has a deadline of its own"
        swept = await stopping
        assert swept is not None
        assert not swept.proven
        assert one.state().life is Life.DEAD
    assert [decoded(last).ended for last in server.records.values()] == [False], "there too"
    await world.venue.close()


async def test_orders_that_are_left_on_purpose_are_nobodys_trouble(host: MakeHost) -> None:
    one = host()
    async with quoting(one) as world:
        await world.stop(leave_orders=True)
        assert engines(one.folder, "mock", "main", one.clock) == []


async def test_an_engine_that_hangs_shows_it_and_still_acknowledges(host: MakeHost) -> None:
    one = host(specs=(pair_spec("BTC", near(interval_s=60.0)),))
    async with quoting(one) as world:
        await asyncio.sleep(30)
        assert (one.state().progress_age_s or 9.9) < 1.3, "a long interval alone is no hang"

        async def hang(*_: object, **__: object) -> None:
            await asyncio.Event().wait()

        world.pair.gate.send = hang  # type: ignore[method-assign, assignment]
        await asyncio.sleep(60)
        state = one.state()
        assert (state.progress_age_s or 0.0) > 25
        assert (state.age_s or 9.9) <= WRITE_EVERY_S
        halt = FileHaltLatch(one.folder).set(ALL, by="anna", at_ms=1, why="drill")
        await asyncio.sleep(0.15)
        assert one.state().acknowledged([halt.uid])
        await one.kill()


async def test_a_pair_that_has_done_its_rounds_is_not_silent_while_another_goes_on(host: MakeHost) -> None:
    quick, slow = pair_spec("BTC", near(interval_s=0.5)), pair_spec("ETH", near(interval_s=10.0))
    one = host(specs=(quick, slow))
    await prepare(one.world)
    running = one.world.start(Limits(rounds=3))
    await asyncio.sleep(15)
    assert not running.done()
    assert (one.state().progress_age_s or 9.9) < 1.3
    await running


async def test_a_second_engine_for_the_pair_is_refused_and_hurts_nobody(host: MakeHost) -> None:
    one, two = host(), host()
    async with quoting(one):
        with pytest.raises(PairHeld, match=f"epoch {one.world.desk.epoch}"):
            await prepare(two.world)
        assert not two.world.venue.sent
        assert one.state().life is Life.LIVE
    await one.end()
    await two.start()
    await asyncio.sleep(2)
    assert two.placements()


async def test_two_names_of_one_account_are_one_writer(host: MakeHost) -> None:
    """The venue's own number of the account counts, not what the key is called."""
    one, two = host(), host()
    one.world.venue.user_id = two.world.venue.user_id = "42"
    two.world.venue.account = "other"
    async with quoting(one):
        with pytest.raises(PairHeld):
            await prepare(two.world)


async def test_another_symbol_of_the_account_is_another_writer(host: MakeHost) -> None:
    one, two = host(), host(specs=(both("ETH"),))
    async with quoting(one), quoting(two):
        assert len(engines(one.folder, "mock", "main", one.clock)) == 2
        assert one.world.desk.epoch != two.world.desk.epoch


async def test_a_halt_is_acknowledged_within_a_tenth_of_a_second_and_by_its_name(host: MakeHost) -> None:
    one = host()
    async with quoting(one):
        done = await set_everywhere(FileHaltLatch(one.folder), None, [NEAR], by="anna", at_ms=1, why="drill")
        assert not one.state().acknowledged(done.uids)
        await asyncio.sleep(0.11)
        state = one.state()
        assert state.acknowledged(done.uids)
        assert state.record is not None
        assert state.record.unanswered(Layer.NEAR) == 0


async def test_after_its_acknowledgement_no_placement_leaves(host: MakeHost) -> None:
    """Halts that come at any moment of a busy engine's turns: each send looks at what its own record said."""
    one = host(specs=(pair_spec("BTC", near(interval_s=0.05, force_refresh_num=0)),))
    late: list[str] = []
    latch = FileHaltLatch(one.folder)

    def watch(places: Sequence[NewOrder], cancels: Sequence[CancelOrder]) -> None:
        if places and one.state().acknowledged([halt.uid for halt in latch.halts()]) and latch.halts():
            late.append(places[0].client_id)

    async with quoting(one) as world:
        world.venue.before_submit = watch
        commit = world.journal.commit

        async def slow(entries: Sequence[object]) -> None:
            await asyncio.sleep(0.03)
            await commit(entries)  # type: ignore[arg-type]

        world.journal.commit = slow  # type: ignore[method-assign, assignment]
        for turn in range(60):
            latch.set(ALL, by="anna", at_ms=1, why="drill")
            await asyncio.sleep(0.2)
            halted_at_s = now_s()
            assert one.state().acknowledged([halt.uid for halt in latch.halts()])
            await asyncio.sleep(0.1)
            assert one.placements(halted_at_s) == 0
            latch.resume(lambda _: True, by="anna", at_ms=2)
            await asyncio.sleep(0.137 + turn / 1000)
        assert one.placements() > 100
    assert late == []


async def test_the_last_answer_is_told_of_at_once(host: MakeHost) -> None:
    one = host()
    async with quoting(one) as world:
        world.set_faults(latency_ms=600)
        world.move("101")
        await asyncio.sleep(1.2)
        halt = FileHaltLatch(one.folder).set(ALL, by="anna", at_ms=1, why="drill")
        await asyncio.sleep(0.11)
        record = one.state().record
        assert record is not None
        assert record.acknowledged == (halt.uid,)
        assert record.unanswered() > 0
        waited = 0
        while one.state().record.unanswered():  # type: ignore[union-attr]
            live = [order for order in world.pair.ledger.live() if order.state is not State.OPEN]
            waited = 0 if live else waited + 1
            assert waited < 3, "every answer is there, and the record does not say so"
            await asyncio.sleep(0.005)


async def test_a_record_that_cannot_be_written_holds_placements(
    host: MakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = host()
    async with quoting(one) as world:
        folder = one.folder / "engines"
        folder.rename(one.folder / "moved")
        folder.write_text("")
        await asyncio.sleep(0.3)
        since_s = now_s()
        world.move("103")
        await asyncio.sleep(3)
        assert one.placements(since_s) == 0
        assert any("cannot be written" in skip.detail for skip in one.skips(since_s))
        assert len(world.told(Faulted)) == 1
        folder.unlink()
        (one.folder / "moved").rename(folder)
        await asyncio.sleep(3)
        assert one.placements(since_s) > 0


async def test_a_disk_that_hangs_holds_placements_and_nothing_else(host: MakeHost) -> None:
    one = host()
    going = asyncio.Event()
    going.set()

    async def slowly(work: Callable[[], None]) -> None:
        await going.wait()
        work()

    one.presence._done_by = slowly
    async with quoting(one) as world:
        going.clear()
        await asyncio.sleep(2.5)
        since_s = now_s()
        world.move("103")
        await asyncio.sleep(2)
        assert one.placements(since_s) == 0
        assert world.venue.cancels(since_s), "a cancel waits for nothing"
        assert any("could not be written for" in skip.detail for skip in one.skips(since_s))
        going.set()
        await asyncio.sleep(2)
        assert one.placements(since_s) > 0
        going.clear()
        await asyncio.sleep(0.3)
        ending = asyncio.create_task(one.end())
        await asyncio.sleep(4)
        assert ending.done()
        going.set()
        await asyncio.sleep(0.1)
        assert engines(one.folder, "mock", "main", one.clock) == [], "what came late brings no record back"
        assert not list((one.folder / "engines").glob("*.new"))


# Hosts that share


async def test_two_hosts_do_not_quote_one_pair(host: MakeHost) -> None:
    server = FakeServer()
    one, two = host("a", server), host("b", server)
    async with quoting(one):
        with pytest.raises(PairHeld, match=f"engine {one.world.desk.epoch} .*by its lease"):
            await prepare(two.world)
        await one.end()
        assert (server.leases, server.markers) == ({}, {})
        assert [decoded(last).ended for last in server.records.values()] == [True]
        await two.start()
        await asyncio.sleep(2.5)
        assert two.placements(), "released: nobody is waited for"


async def test_the_first_turn_of_each_layer_has_its_lease(host: MakeHost) -> None:
    """A far ladder that missed it would be missing for a whole interval."""
    one = host("a", FakeServer())
    await one.start()
    await asyncio.sleep(1.6)
    assert not one.skips()
    assert {order.client_id[:2] for order in one.world.venue.placed()} == {"N0", "F0"}


async def test_who_follows_one_that_did_not_release_waits_for_its_lease_and_landing_time(host: MakeHost) -> None:
    server = FakeServer()
    one, two = host("a", server), host("b", server)
    async with quoting(one):
        assert one.placements()
        await one.kill()
        killed_s = now_s()
        await two.start()
        while not two.placements():
            await asyncio.sleep(0.5)
            assert now_s() < killed_s + 60
        waited_s = now_s() - killed_s
        assert LEASE_S + LANDING_S - 1 <= waited_s <= LEASE_S + LANDING_S + 5
        details = [skip.detail for skip in two.skips()]
        assert any("did not release its lease: " in detail and detail.endswith(" s left") for detail in details)
        assert two.world.desk.epoch > one.world.desk.epoch


async def test_a_machine_that_was_suspended_holds_at_once_and_is_superseded_by_whoever_came(host: MakeHost) -> None:
    server = FakeServer()
    one, two = host("a", server), host("b", server)
    async with quoting(one):
        one.shared.away = True  # type: ignore[union-attr] # as it is to a machine that sleeps
        one.clock.suspended_s = 3600.0
        assert one.presence.hold("BTCUSDT") is not None
        since_s = now_s()
        await asyncio.sleep(LEASE_S + 1)
        await two.start()
        await asyncio.sleep(LANDING_S + LEASE_S + 5)
        assert two.placements()
        assert one.placements(since_s) == 0
        one.shared.away = False  # type: ignore[union-attr]
        await asyncio.sleep(5)
        assert one.placements(since_s) == 0
        hold = one.presence.hold("BTCUSDT")
        assert hold is not None
        assert (hold.reason, hold.hands_off) == ("superseded", True)
        assert [fault.kind for fault in one.world.told(Faulted) if "has the lease" in fault.detail] == ["shared"]


async def test_a_suspension_that_nobody_used_ends_by_itself(host: MakeHost) -> None:
    one = host("a", FakeServer())
    async with quoting(one) as world:
        one.clock.suspended_s = 3600.0
        assert one.presence.hold("BTCUSDT") is not None
        await asyncio.sleep(1)
        world.move("103")
        since_s = now_s()
        await asyncio.sleep(3)
        assert one.placements(since_s) > 0


async def test_redis_away_at_the_start_holds_and_ends_nothing(host: MakeHost) -> None:
    server = FakeServer()
    one = host("a", server)
    assert one.shared is not None
    one.shared.away = True
    async with quoting(one):
        assert one.placements() == 0
        assert {skip.reason for skip in one.skips()} <= {"lease", "held"}
        record = one.state().record
        assert record is not None
        assert "cannot be asked" in record.held or "lease" in record.held
        one.shared.away = False
        since_s = now_s()
        await asyncio.sleep(4)
        assert one.placements(since_s) > 0
        assert server.epochs["mock", "main"] == one.world.desk.epoch
        assert list(server.records) == [("mock", "main", one.world.desk.epoch)]
        assert len(one.world.told(Faulted)) == 1
        one.shared.away = True
        await asyncio.sleep(2)
        assert len(one.world.told(Faulted)) == 2, "another time is told again"


async def test_redis_away_in_the_middle_holds_placements_and_cancels_nothing(host: MakeHost) -> None:
    one = host("a", FakeServer())
    assert one.shared is not None
    async with quoting(one) as world:
        await asyncio.sleep(2)
        open_before = world.venue.own()
        one.shared.away = True
        await asyncio.sleep(1.3)
        since_s = now_s()
        await asyncio.sleep(4)
        assert one.placements(since_s) == 0
        assert world.venue.own() == open_before
        assert any("old" in skip.detail for skip in one.skips(since_s))
        world.move("103")
        await asyncio.sleep(2)
        assert one.placements(since_s) == 0
        assert world.venue.own() != open_before, "what the book has left goes all the same"
        one.shared.away = False
        await asyncio.sleep(3)
        assert one.placements(since_s) > 0
        assert len(world.told(Faulted)) == 1, "told once, not by each part of it four times a second"


async def test_a_lease_is_given_up_one_landing_time_before_it_would_run_out(host: MakeHost) -> None:
    server = FakeServer()
    one = host("a", server)
    async with quoting(one):
        lease = next(iter(one.presence._elsewhere._leases.values()))
        assert lease.hold() is None

        async def gone(*_: object) -> bool:
            raise AssertionError("not asked")

        last_s = lease._until_s
        assert last_s is not None
        one.clock.suspended_s = last_s - LANDING_S - one.clock.monotonic() - 0.01
        assert lease.hold() is None
        one.clock.suspended_s += 0.02
        hold = lease.hold()
        assert hold is not None
        assert "renewed in time" in hold.detail


async def test_a_lost_reply_makes_no_lease_without_its_wait(host: MakeHost) -> None:
    """The lease was taken, and the answer lost: the predecessor is waited for all the same."""
    server = FakeServer()
    server.markers["mock:main:BTCUSDT"] = ("engine 1 (dead)", LEASE_S, LANDING_S)
    one = host("a", server)
    assert one.shared is not None
    one.shared.lost_replies = True
    await one.start()
    await asyncio.sleep(2)
    one.shared.lost_replies = False
    await asyncio.sleep(LEASE_S + LANDING_S - 4)
    assert one.placements() == 0
    await asyncio.sleep(6)
    assert one.placements() > 0


async def test_a_flushed_redis_lifts_nothing_and_gets_halts_and_leases_back(host: MakeHost) -> None:
    server = FakeServer()
    one, two = host("a", server), host("b", server, specs=(both("ETH"),))
    async with quoting(one), quoting(two):
        done = await set_everywhere(
            FileHaltLatch(one.folder), FakeShared(server), [ALL], by="anna", at_ms=1, why="drill"
        )
        await asyncio.sleep(0.4)
        for each in (one, two):
            assert each.state().acknowledged(done.uids)
        since_s = now_s()
        server.flush()
        await asyncio.sleep(3)
        assert one.placements(since_s) == two.placements(since_s) == 0
        assert set(server.halts) == set(done.uids)
        assert len(server.leases) == len(server.markers) == 2
        assert FileHaltLatch(two.folder).halts()[0].uid == done.uids[0]
        told = await resume_everywhere(FileHaltLatch(one.folder), FakeShared(server), lambda _: True, by="bob", at_ms=2)
        assert [halt.uid for halt in told.lifted] == list(done.uids)
        await asyncio.sleep(3)
        assert one.placements(since_s)
        assert two.placements(since_s)
        assert FileHaltLatch(two.folder).halts() == ()


async def test_a_halt_seen_in_redis_alone_survives_a_restart_without_it(host: MakeHost) -> None:
    server = FakeServer()
    one = host("a", server)
    async with quoting(one):
        await FakeShared(server).set(
            [(await set_everywhere(FileHaltLatch(one.folder / "b"), None, [ALL], by="x", at_ms=1, why="y")).halts[0]]
        )
        await asyncio.sleep(0.6)
        assert not one.world.venue.own()
    await one.end()
    again = host("a")
    await again.start()
    await asyncio.sleep(3)
    assert again.placements() == 0
    assert {skip.reason for skip in again.skips()} == {"halted"}


async def test_a_halt_set_with_redis_away_reaches_the_others_when_it_is_back(host: MakeHost) -> None:
    server = FakeServer()
    one, two = host("a", server), host("b", server, specs=(both("ETH"),))
    assert one.shared is not None
    async with quoting(one), quoting(two):
        one.shared.away = True
        await asyncio.sleep(1)
        one.world.pair.gate.kill("too many fills", 1, lambda done: None)
        symbol_halt = FileHaltLatch(one.folder).set(ALL, by="anna", at_ms=1, why="drill")
        await asyncio.sleep(1)
        assert not server.halts
        one.shared.away = False
        await asyncio.sleep(1)
        assert len(server.halts) == 2
        assert two.state().acknowledged([symbol_halt.uid])
        assert FileHaltLatch(one.folder).shared() == set(server.halts)


async def test_a_halt_from_elsewhere_holds_while_a_disk_hangs_and_keeps_the_lease(host: MakeHost) -> None:
    server = FakeServer()
    one = host("a", server)
    going = asyncio.Event()

    async def slowly(work: Callable[[], object]) -> object:
        await going.wait()
        return work()

    async with quoting(one) as world:
        assert one.presence._elsewhere is not None
        one.presence._elsewhere._view._done_by = slowly  # type: ignore[assignment]
        server.halts["ee"] = Halt(0, ALL, "bob", 5, "elsewhere", "ee")
        await asyncio.sleep(0.3)
        since_s = now_s()
        world.move("103")
        await asyncio.sleep(LEASE_S + 5)
        assert one.placements(since_s) == 0
        assert world.venue.cancels(since_s), "a cancel waits for nothing"
        assert any("not written down here yet" in skip.detail for skip in one.skips(since_s))
        assert server.leases["mock:main:BTCUSDT"][1] > now_s() + LANDING_S
        assert world.latch.halts() == ()
        going.set()
        await asyncio.sleep(2)
        assert [halt.uid for halt in world.latch.halts()] == ["ee"]
        assert (one.placements(since_s), world.venue.own()) == (0, [])


async def test_a_resume_without_redis_counts_for_a_halt_that_nobody_knew_to_be_there(host: MakeHost) -> None:
    server = FakeServer()
    one, two = host("a", server), host("b", server, specs=(both("ETH"),))
    latch = FileHaltLatch(one.folder)
    async with quoting(one), quoting(two):
        halt = latch.set(ALL, by="anna", at_ms=1, why="drill")
        server.halts[halt.uid] = halt  # its stop never heard that it is there
        assert one.shared is not None
        one.shared.away = True
        await asyncio.sleep(0.5)
        assert two.state().acknowledged([halt.uid])
        assert (await resume_everywhere(latch, None, lambda _: True, by="bob", at_ms=2)).lifted
        one.shared.away = False
        await asyncio.sleep(1)
        assert set(server.lifted) == {halt.uid}
        assert FileHaltLatch(two.folder).halts() == () == latch.halts()


async def test_rubbish_among_the_halts_holds_until_it_is_mended_and_keeps_the_lease(host: MakeHost) -> None:
    server = FakeServer()
    one = host("a", server)
    async with quoting(one) as world:
        server.rubbish = ("what is this",)
        await asyncio.sleep(1.5)
        since_s = now_s()
        world.move("103")
        await asyncio.sleep(LEASE_S + 5)
        assert one.placements(since_s) == 0
        assert any("what is this" in skip.detail for skip in one.skips(since_s))
        assert server.leases["mock:main:BTCUSDT"][1] > now_s() + LANDING_S
        await resume_everywhere(FileHaltLatch(one.folder), FakeShared(server), lambda _: True, by="bob", at_ms=2)
        await asyncio.sleep(3)
        assert one.placements(since_s) > 0


async def test_epochs_of_hosts_never_meet(host: MakeHost) -> None:
    server = FakeServer()
    hosts = [host(name, server, specs=(both(base),)) for name, base in (("a", "BTC"), ("b", "ETH"), ("c", "XRP"))]
    server.epochs["mock", "main"] = 9_000_000_000
    waits: list[Awaitable[None]] = [prepare(one.world) for one in hosts]
    await asyncio.gather(*waits)
    assert sorted(one.world.desk.epoch for one in hosts) == [9_000_000_001, 9_000_000_002, 9_000_000_003]
