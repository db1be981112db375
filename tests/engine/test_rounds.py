"""Turns and rounds: when they come, what counts, and that no pair waits for another."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import replace
from pathlib import Path

import pytest

from mmctl.core.order import Layer, Side
from mmctl.core.report import RoundDone, Skipped
from mmctl.core.spec import PairSpec
from mmctl.engine.cycle import READ_DEADLINE_S
from mmctl.engine.loop import STAGGER_S, Engine, Limits
from mmctl.engine.pair_view import view_of
from mmctl.engine.reconcile import COMPARE_EVERY_S
from mmctl.errors import FeedUnreachable
from mmctl.ports import Listing

from .world import (
    BTC,
    ETH,
    ROUND_TRIP_S,
    VIRTUAL,
    D,
    Witness,
    both,
    far,
    make_world,
    near,
    now_s,
    pair_spec,
    quoting,
    until,
)

pytestmark = VIRTUAL


async def test_the_first_near_and_far_rounds_run_at_once(state_dir: Path) -> None:
    async with quoting(state_dir, both()) as world:
        began_s = now_s()
        await asyncio.sleep(3 * ROUND_TRIP_S)
        first, second = (one for _, one in world.timed(RoundDone))
        assert (first.layer, second.layer) == (Layer.NEAR, Layer.FAR)
        assert [one.at_s - began_s for one in world.venue.sent] == pytest.approx([0, ROUND_TRIP_S])
        assert world.venue.own() == world.target()
        assert len(world.venue.own()) == 10


async def test_the_ladder_is_where_the_rules_put_it(state_dir: Path) -> None:
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(0.5)
        assert world.venue.prices(layer=Layer.NEAR) == {
            Side.BUY: [D("99.69"), D("99.79"), D("99.89")],
            Side.SELL: [D("100.12"), D("100.22"), D("100.32")],
        }
        assert world.venue.prices(layer=Layer.FAR) == {
            Side.BUY: [D("98.00"), D("98.99")],
            Side.SELL: [D("101.02"), D("102.03")],
        }


async def test_turns_keep_to_their_grid(state_dir: Path) -> None:
    spec = pair_spec("BTC", near(interval_s=0.7, diff_per_round_bps=D(0)), far(interval_s=2.1))
    async with quoting(state_dir, spec) as world:
        began_s = now_s()
        await asyncio.sleep(20)
        begun = [one.at_s - began_s for one in world.venue.sent if one.places[0].client_id.startswith("N0")]
        assert begun == pytest.approx([0.7 * turn for turn in range(len(begun))])
        assert len(begun) == 29
        assert world.engine.lateness_s
        assert max(world.engine.lateness_s) <= ROUND_TRIP_S + 1e-6, "far waits for near where both are due"


async def test_missed_turns_are_not_made_up_for(state_dir: Path) -> None:
    async with quoting(state_dir, pair_spec("BTC", near(quote_timeout_s=30.0))) as world:
        began_s = now_s()
        await asyncio.sleep(0.5)
        world.fake.hang(BTC)
        await asyncio.sleep(6)
        world.fake.mend(BTC)
        await asyncio.sleep(4)
        turns = [round(at_s - began_s, 2) for at_s in world.turns_s()]
        # Each hanging read takes its deadline, two turns long; the grid of whole seconds stays.
        assert READ_DEADLINE_S == 2.0
        assert turns == [0.04, 3.0, 6.0, 7.0, 8.0, 9.0, 10.0]
        assert [one.reason for one in world.told(Skipped)] == ["feed_unreachable"] * 2


async def test_every_layer_has_a_refresh_counter_of_its_own(state_dir: Path) -> None:
    spec = pair_spec("BTC", near(force_refresh_num=3), far(force_refresh_num=1))
    async with quoting(state_dir, spec) as world:
        await asyncio.sleep(11.5)
        assert [one.forced for one in world.rounds(Layer.NEAR)] == [*[False] * 3, True] * 3
        assert [one.forced for one in world.rounds(Layer.FAR)] == [False, True, False, True]
        for one in world.told(RoundDone):
            if one.forced:
                assert not one.keep
                assert {wanted.reason for wanted in one.cancel} == {"forced"}
                assert len(one.place) == len(one.cancel) == len(one.target)
        assert world.venue.own() == world.target()


async def test_skipped_rounds_do_not_count_for_the_refresh(state_dir: Path) -> None:
    async with quoting(state_dir, pair_spec("BTC", near(force_refresh_num=3, quote_timeout_s=60.0))) as world:
        await asyncio.sleep(1.5)
        world.fake.fail(BTC, FeedUnreachable("gone"))
        await asyncio.sleep(10)
        world.fake.mend(BTC)
        await asyncio.sleep(3)
        assert [one.forced for one in world.rounds()] == [False, False, False, True, False]
        assert [one.round for one in world.rounds()] == [1, 2, 3, 4, 5]
        assert world.pair.layers[Layer.NEAR].turns == 15


async def test_a_refresh_every_round_where_the_number_is_zero(state_dir: Path) -> None:
    async with quoting(state_dir, pair_spec("BTC", near(force_refresh_num=0))) as world:
        await asyncio.sleep(3.5)
        assert [one.forced for one in world.rounds()] == [True] * 4


async def test_an_unchanged_ladder_sends_nothing(state_dir: Path) -> None:
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(10.5)
        assert len(world.venue.sent) == 2
        assert all(len(one.keep) == 6 for one in world.rounds()[1:])


async def test_a_filled_level_is_quoted_again_in_the_next_round(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        best = world.venue.prices()[Side.BUY][-1]
        # Somebody sells through our best bid; the market is back before the next round.
        for mid in ("99.87", "99.86", "100"):
            world.move(mid)
        assert len(world.venue.own()) == 5
        await asyncio.sleep(1)
        assert world.pair.totals.fills == 2
        assert world.venue.prices()[Side.BUY][-1] == best
        assert [len(one.place) for one in world.rounds()] == [6, 1]
        assert len(world.rounds()[1].keep) == 5
        assert world.pair.ledger.position == world.venue.sent[0].places[1].qty


@pytest.mark.parametrize(
    ("spec", "layer", "rounds"), [(both(), Layer.NEAR, 4), (pair_spec("BTC", None, far()), Layer.FAR, 2)]
)
async def test_rounds_end_a_run(state_dir: Path, spec: PairSpec, layer: Layer, rounds: int) -> None:
    async with quoting(state_dir, spec, limits=Limits(rounds=rounds)) as world:
        await world.ended()
        assert world.pair.layers[layer].turns == rounds
        assert now_s() < rounds * world.pair.layers[layer].spec.interval_s


async def test_one_round_takes_both_layers_turns(state_dir: Path) -> None:
    async with quoting(state_dir, both(), limits=Limits(rounds=1)) as world:
        await world.ended()
        assert [state.turns for state in world.pair.layers.values()] == [1, 1]


async def test_skipped_turns_count_for_the_limit(state_dir: Path) -> None:
    async with quoting(state_dir, limits=Limits(rounds=3)) as world:
        world.fake.fail(BTC, FeedUnreachable("gone"))
        await world.ended()
        assert world.pair.totals.near_turns_with_book == 0
        assert world.pair.layers[Layer.NEAR].turns == 3


async def test_a_run_waits_for_every_pair_to_have_its_rounds(state_dir: Path) -> None:
    slow = pair_spec("ETH", near(interval_s=3.0))
    async with quoting(state_dir, pair_spec(), slow, limits=Limits(rounds=3)) as world:
        await world.ended()
        assert [pair.layers[Layer.NEAR].turns for pair in world.engine.pairs] == [3, 3]


async def test_a_turn_as_long_as_its_interval_is_not_one_too_many(state_dir: Path) -> None:
    """The end of a turn may fall on the grid to the last bit of a float."""
    for interval_ms in range(50, 400, 14):
        spec = pair_spec("BTC", near(interval_s=interval_ms / 1000, force_refresh_num=0))
        async with quoting(state_dir, spec, limits=Limits(rounds=3)) as world:
            world.set_faults(latency_ms=interval_ms // 2)
            await world.ended()
            assert world.pair.layers[Layer.NEAR].turns == 3, interval_ms


async def test_seconds_end_a_run(state_dir: Path) -> None:
    async with quoting(state_dir, both(), limits=Limits(for_s=4.5)) as world:
        began_s = now_s()
        await world.ended()
        assert now_s() - began_s == pytest.approx(4.5)
        assert len(world.rounds()) == 5


async def test_a_pair_whose_feed_hangs_holds_up_no_other(state_dir: Path) -> None:
    async with quoting(state_dir, both("BTC"), both("ETH")) as world:
        world.fake.hang(BTC)
        await asyncio.sleep(30.5)
        turns = world.turns_s(pair="ETH-USDT")
        began_s = turns[0] - ROUND_TRIP_S
        late = [at_s - began_s - number for number, at_s in enumerate(turns)]
        assert len(turns) == 31
        assert max(late) <= ROUND_TRIP_S + 1e-6
        assert not world.faults(pair="ETH-USDT")


async def test_a_pair_whose_venue_does_not_answer_holds_up_no_other(state_dir: Path) -> None:
    """Two accounts of one engine: the first one's venue stands still."""
    slow, world = make_world(state_dir, both("BTC")), make_world(state_dir, both("ETH"))
    engine = Engine([slow.pair, world.pair], world.feed, world.clock)
    await engine.prepare(lambda desk, seen: 5)
    running = asyncio.create_task(engine.run(Limits()))
    await asyncio.sleep(0.5)
    slow.venue.stall()
    await asyncio.sleep(30)
    turns = world.turns_s(pair="ETH-USDT")
    late = [at_s - (turns[0] - ROUND_TRIP_S) - number for number, at_s in enumerate(turns)]
    assert len(turns) == 31
    assert max(late) <= ROUND_TRIP_S + 1e-6
    assert not world.faults()
    running.cancel()
    slow.venue.resume()
    swept = await engine.stop(leave_orders=False)
    assert all(one.proven for one in swept.values())
    assert len(swept) == 2
    await slow.venue.close()
    await world.venue.close()


async def test_many_pairs_do_not_all_send_at_the_same_moment(state_dir: Path) -> None:
    specs = [replace(pair_spec(base), name=f"{base}-USDT") for base in ("BTC", "ETH", "XRP")]
    async with quoting(state_dir, *specs) as world:
        await asyncio.sleep(0.5)
        began = [one.at_s for one in world.venue.sent]
        assert [at_s - began[0] for at_s in began] == pytest.approx([0, 0.01, 0.02])


async def test_what_is_remembered_of_a_run_is_bounded(state_dir: Path) -> None:
    async with quoting(state_dir, pair_spec("BTC", near(interval_s=0.05, force_refresh_num=0))) as world:
        await asyncio.sleep(40)
        assert world.engine.lateness_s.maxlen is not None
        assert len(world.pair._batches) <= 3
        assert len(world.pair.ledger.live()) <= 12
        assert not world.desk.budget._reserved or len(world.desk.budget._reserved) <= 12
        assert not world.pair.strangers


async def test_the_wait_for_a_first_book_is_told_and_ends_by_itself(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        world.fake.fail(BTC, FeedUnreachable("gone"))
        world.fake.hang(ETH)
        await asyncio.sleep(2.5)
        assert not world.venue.sent
        assert view_of(world.pair).status.startswith("feed_unreachable")
        world.fake.mend(BTC)
        assert await until(world.venue.own) < 1.0


async def test_pairs_compare_with_the_venue_one_after_another(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, str | None]] = []
    listing = Witness.open_orders

    async def open_orders(venue: Witness, symbol: str | None) -> Listing:
        asked.append((now_s(), symbol))
        return await listing(venue, symbol)

    monkeypatch.setattr(Witness, "open_orders", open_orders)
    async with quoting(state_dir, pair_spec("BTC"), pair_spec("ETH"), pair_spec("SOL")):
        began_s = now_s()
        asked.clear()
        await asyncio.sleep(COMPARE_EVERY_S + 0.5)
        times = [at_s - began_s - COMPARE_EVERY_S for at_s, _ in asked]
        assert times == pytest.approx([0, STAGGER_S, 2 * STAGGER_S], abs=1e-3)
        assert [symbol for _, symbol in asked] == ["BTCUSDT", "ETHUSDT", "SOLUSDT"]


async def test_what_was_there_before_the_run_is_left_out_of_collections_while_it_lasts(state_dir: Path) -> None:
    assert not gc.get_freeze_count()
    async with quoting(state_dir, pair_spec()):
        await asyncio.sleep(1)
        assert gc.get_freeze_count() > 1000
    assert not gc.get_freeze_count()
