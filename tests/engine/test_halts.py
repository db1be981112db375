"""Halts: seen at once, from any process, by every layer they cover; only a resume lifts them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mmctl.core.book import Book
from mmctl.core.decide import Decision
from mmctl.core.order import Layer, Order, Side, State
from mmctl.core.report import RoundDone, Skipped
from mmctl.core.risk import Room
from mmctl.engine.halt import FileHaltLatch
from mmctl.engine.pair_view import view_of
from mmctl.errors import StateUnreadable
from mmctl.ports import HaltScope

from .world import BTC, ETH, VIRTUAL, D, World, both, far, near, now_s, pair_spec, quoting, until

pytestmark = VIRTUAL

AT_ONCE_S = 0.25


async def test_a_halt_of_somebody_else_cancels_near_at_once_and_places_nothing(state_dir: Path) -> None:
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(0.53)
        near_ids = {order.client_id for order in world.pair.ledger.live() if order.layer is Layer.NEAR}
        halted_s = now_s()
        world.halt(layer=Layer.NEAR)
        await asyncio.sleep(AT_ONCE_S)
        cancelled = {client_id: at_s for at_s, client_id in world.venue.cancels()}
        assert cancelled.keys() == near_ids
        assert max(cancelled.values()) - halted_s <= 0.1 + 1e-6
        assert len(world.venue.own(layer=Layer.FAR)) == 4
        sent = len(world.venue.placed())
        for step in range(20):
            world.move(f"{D(100) + D(step % 3) / 20}")
            await asyncio.sleep(1)
        assert not [order for order in world.venue.placed()[sent:] if order.client_id.startswith("N0")]
        assert {one.reason for one in world.told(Skipped)} == {"halted"}
        assert len(world.faults("halted")) == 1, "told once"
        assert "by anna: drill" in view_of(world.pair).status
        assert view_of(world.pair).quoting, "far still does"


async def test_a_resume_lifts_it_without_a_restart(state_dir: Path) -> None:
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(0.5)
        world.halt()
        await until(lambda: not world.venue.own(), 0.5)
        await asyncio.sleep(10)
        assert not world.venue.own()
        world.resume()
        await until(lambda: len(world.venue.own()) == 10, 3.2)
        world.halt()
        await asyncio.sleep(1)
        assert len(world.faults("halted")) == 4, "a new halt is told again, once a layer"


@pytest.mark.parametrize(
    ("scope", "left"),
    [
        (HaltScope("mock", "main"), (0, 0, 0, 0)),
        (HaltScope("mock", "main", "BTCUSDT"), (0, 0, 6, 4)),
        (HaltScope("mock", "main", "BTCUSDT", Layer.FAR), (6, 0, 6, 4)),
        (HaltScope("mock", "main", None, Layer.NEAR), (0, 4, 0, 4)),
        (HaltScope("mock", "other"), (6, 4, 6, 4)),
        (HaltScope("binance_spot", "main"), (6, 4, 6, 4)),
        (HaltScope("mock", "main", "XRPUSDT"), (6, 4, 6, 4)),
    ],
)
async def test_a_halt_covers_its_scope_and_no_more(
    state_dir: Path, scope: HaltScope, left: tuple[int, int, int, int]
) -> None:
    async with quoting(state_dir, both("BTC"), both("ETH")) as world:
        await asyncio.sleep(0.5)
        FileHaltLatch(state_dir).set(scope, by="anna", at_ms=1, why="drill")
        await asyncio.sleep(4)
        found = tuple(len(world.venue.own(symbol, layer)) for symbol in ("BTCUSDT", "ETHUSDT") for layer in Layer)
        assert found == left


async def test_a_halt_from_before_the_start_holds(state_dir: Path) -> None:
    FileHaltLatch(state_dir).set(HaltScope("mock", "main"), by="anna", at_ms=1, why="drill")
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(5)
        assert not world.venue.sent
        assert {one.reason for one in world.told(Skipped)} == {"halted"}
        assert not world.faults(), "nothing rested, so nothing happened"


async def test_a_file_that_disappears_lifts_nothing(state_dir: Path) -> None:
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(0.5)
        world.halt()
        await until(lambda: not world.venue.own(), 0.5)
        world.latch.path.unlink()
        sent = len(world.venue.placed())
        await asyncio.sleep(10)
        assert len(world.venue.placed()) == sent
        assert {one.reason for one in world.told(Skipped)} <= {"halted", "held"}


async def test_a_new_file_with_other_halts_lifts_nothing_either(state_dir: Path) -> None:
    """The numbers begin anew, so that the new record looks like the old one."""
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(0.5)
        world.halt()
        await until(lambda: not world.venue.own(), 0.5)
        world.latch.path.unlink()
        world.halt("XRPUSDT")
        sent = len(world.venue.placed())
        await asyncio.sleep(10)
        assert len(world.venue.placed()) == sent


@pytest.mark.parametrize("broken", ["rubbish", "torn", "a folder"])
async def test_what_cannot_be_read_holds_placements_and_cancels_nothing(state_dir: Path, broken: str) -> None:
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(0.5)
        path = world.latch.path
        if broken == "a folder":
            path.mkdir()
        else:
            path.write_text("who wrote this?\n" if broken == "rubbish" else '{"n":1,"halt":{"ven')
        best = max(world.pair.ledger.live(), key=lambda order: (order.side is Side.BUY, order.price))
        for mid in ("99.87", "99.86", "100"):  # the best bid is filled: there is something to place
            world.move(mid)
        await asyncio.sleep(5)
        assert not world.venue.cancels()
        assert len(world.venue.own()) == 9
        assert {one.reason for one in world.told(Skipped)} == {"held"}
        assert not view_of(world.pair).quoting
        assert not world.pair.ledger.find(best.client_id).is_live  # type: ignore[union-attr]
        if broken == "a folder":
            path.rmdir()
            await until(lambda: len(world.venue.own()) == 10, 2)
        else:
            await asyncio.sleep(3)
            assert len(world.venue.own()) == 9, "only a person mends it"
            world.resume()
            await until(lambda: len(world.venue.own()) == 10, 2)


async def test_cancels_do_not_wait_for_the_latch(state_dir: Path) -> None:
    """What the book has left goes also while nothing may be placed."""
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(0.5)
        world.latch.path.write_text("who wrote this?\n")
        world.fake.mids[BTC] = D("100.37")
        await asyncio.sleep(4)
        assert not world.venue.own(layer=Layer.NEAR), "no near order fits the book any more"
        assert len(world.venue.own(layer=Layer.FAR)) <= 4
        placed = [order for one in world.venue.sent[2:] for order in one.places]
        assert not placed
        skipped = world.told(Skipped)
        assert {one.reason for one in skipped} == {"held"}
        assert any("cancelling 6 orders" in one.detail for one in skipped)


async def test_the_gate_refuses_at_the_very_last_moment(state_dir: Path) -> None:
    """The halt comes between the decision and the sending."""
    async with quoting(state_dir) as world:
        decide, halted = world.pair.decider.decide, []

        def deciding(
            layer: Layer, book: Book, live: list[Order], room: Room, *, forced: bool, refreshes: int
        ) -> Decision:
            decision = decide(layer, book, live, room, forced=forced, refreshes=refreshes)
            if len(world.rounds()) == 2 and not halted:
                world.halt()
                halted.append(now_s())
            return decision

        world.pair.decider.decide = deciding  # type: ignore[method-assign, assignment]
        await asyncio.sleep(1.5)
        placed = len(world.venue.placed())
        world.move("100.05")
        await asyncio.sleep(1.2)
        assert halted
        last = world.rounds()[-1]
        assert last.place == ()
        assert {one.reason for one in last.refused} == {"halted"}
        assert len(last.cancel) == 6, "cancels pass"
        assert len(world.venue.placed()) == placed
        assert not world.venue.own()


async def test_an_old_decision_places_nothing(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        world.move("100.05")
        send = world.pair.gate.send

        def late(*args: object, decided_at_s: float, **more: object) -> object:
            return send(*args, decided_at_s=decided_at_s - 1.01, **more)  # type: ignore[arg-type]

        world.pair.gate.send = late  # type: ignore[method-assign, assignment]
        await asyncio.sleep(1)
        done = world.told(RoundDone)[-1]
        assert {one.reason for one in done.refused} == {"old_decision"}
        assert len(done.cancel) == 6
        assert not done.place


async def test_orders_in_flight_when_the_halt_comes_go_when_they_are_answered(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        world.set_faults(latency_ms=300)
        await asyncio.sleep(0.1)
        assert {order.state for order in world.pair.ledger.live()} == {State.IN_FLIGHT}
        world.halt()
        await until(lambda: any(order.state is State.OPEN for order in world.pair.ledger.live()), 2)
        opened_s = now_s()
        await asyncio.sleep(0.12)
        assert len(world.venue.cancels()) == 6
        assert world.venue.cancels()[0][0] - opened_s <= 0.11
        await asyncio.sleep(1)
        assert not world.venue.own()


async def test_a_halt_cancels_while_a_round_waits_for_its_venue(state_dir: Path) -> None:
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(0.5)
        world.set_faults(latency_ms=2000)
        world.move("100.05")
        await asyncio.sleep(0.6)  # near waits for its answers
        halted_s = now_s()
        world.halt(layer=Layer.FAR)
        await asyncio.sleep(AT_ONCE_S)
        assert len(world.venue.cancels(halted_s)) == 4
        await asyncio.sleep(8)


async def test_a_lost_cancel_of_a_halted_layer_is_repeated(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        world.set_faults(timeout_rate=1.0, read_failure_rate=1.0)
        world.halt()
        await asyncio.sleep(20)
        world.set_faults(timeout_rate=0.0, read_failure_rate=0.0)
        await until(lambda: not world.venue.own(), 7)
        assert len(world.venue.cancels()) <= 6 * 8
        assert len(world.faults("halted")) == 1


async def test_a_halt_beside_rubbish_is_a_halt(state_dir: Path) -> None:
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(0.5)
        world.halt(layer=Layer.NEAR)
        with world.latch.path.open("a") as file:
            file.write("who wrote this?\n")
        await asyncio.sleep(AT_ONCE_S)
        assert not world.venue.own(layer=Layer.NEAR)
        assert len(world.venue.own(layer=Layer.FAR)) == 4, "what is only held stays where it is"


async def test_a_halt_ends_the_orders_of_an_engine_that_has_a_successor_too(state_dir: Path) -> None:
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(0.5)
        world.pair.gate.superseded_by = 10**10
        world.halt()
        await asyncio.sleep(AT_ONCE_S)
        assert not world.venue.own()


async def test_a_latch_that_cannot_be_read_for_a_moment_holds_only_so_long(state_dir: Path) -> None:
    async with quoting(state_dir, both("BTC"), pair_spec("ETH", near(), far())) as world:
        await asyncio.sleep(0.5)
        read = world.latch._read

        def unreadable() -> object:
            raise StateUnreadable("away")

        world.latch._read = unreadable  # type: ignore[method-assign, assignment]
        for key in (BTC, ETH):
            world.move("100.05", key)
        await asyncio.sleep(2)
        assert world.told(Skipped)
        world.latch._read = read  # type: ignore[method-assign]
        await asyncio.sleep(3)
        assert len(world.venue.own()) == 20
        assert _fits(world)


def _fits(world: World) -> bool:
    return all(D("100.05") * (1 - D("0.05")) < price < D("100.05") * D("1.05") for _, _, price in world.venue.own())
