"""Every invariant can break: for each, something is spoilt that it has to find."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from mmctl.core.decide import PairDecider
from mmctl.core.entries import Entry, Kind
from mmctl.core.ledger import Ledger
from mmctl.core.order import NewOrder, Order, Side, decode_own_id
from mmctl.drill import network
from mmctl.drill.engines import DrillJournal
from mmctl.drill.play import Played, play
from mmctl.drill.site import Script, script_of
from mmctl.drill.trouble import OLD_EPOCH
from mmctl.engine import loop, reconcile
from mmctl.engine.folder_presence import FolderPresence
from mmctl.engine.gate import SendGate
from mmctl.engine.journal_store import JournalStore
from mmctl.engine.pair import Pair
from mmctl.engine.sweep import Sweeper
from mmctl.engine.swept import Swept
from mmctl.ports import Listing
from mmctl.profile import load_profile, select_pairs
from mmctl.sandbox.exchange import Exchange
from mmctl.venues.binance import BinanceVenue
from mmctl.venues.binance_gate import RateGate
from mmctl.venues.binance_sender import Sender

ROOT = Path(__file__).parents[2]
SEEDS = 25
Spoil = Callable[[pytest.MonkeyPatch], None]


@cache
def script() -> Script:
    profile = load_profile(str(ROOT / "profiles" / "default.toml"), environ={}, cwd=ROOT)
    return script_of(profile, select_pairs(profile, []))


def first_broken(start: int) -> Played:
    """The first seed that breaks, from ``start`` on."""
    for seed in range(start, start + SEEDS):
        played = play(script(), seed, 30)
        if played.broken is not None:
            return played
    raise AssertionError(f"nothing broke in {SEEDS} seeds")


def test_nothing_breaks_where_nothing_is_spoilt() -> None:
    for seed in range(1, 9):
        played = play(script(), seed, 30)
        assert played.broken is None, (played.broken, played.schedule)
        assert played.rounds > 30


def self_trade(patch: pytest.MonkeyPatch) -> None:
    """An exchange on which own orders met."""
    whole = Exchange.place

    def place(self: Exchange, *args: Any) -> Any:
        self.counters.self_trades = 1
        return whole(self, *args)

    patch.setattr(Exchange, "place", place)


def crossing(patch: pytest.MonkeyPatch) -> None:
    """A gate that lets asks go out at the price of bids."""
    whole = SendGate._as_asked

    def as_asked(self: SendGate, order: Order) -> NewOrder:
        asked = whole(self, order)
        tick = self._ledger.instrument.tick_size
        return replace(asked, price=asked.price * 999 // 1000 // tick * tick) if order.side is Side.SELL else asked

    patch.setattr(SendGate, "_as_asked", as_asked)


def blind_to_old_orders(patch: pytest.MonkeyPatch) -> None:
    """An engine that takes in nothing of an engine of long ago, whoever tells of it."""
    whole = BinanceVenue.open_orders

    async def open_orders(self: BinanceVenue, symbol: str | None) -> Listing:
        listing = await whole(self, symbol)
        own = [seen for seen in listing.own if (made := decode_own_id(seen.client_id)) and made.epoch != OLD_EPOCH]
        return replace(listing, own=tuple(own))

    def take_in(pair: Pair, client_id: str, answer: object) -> None:
        del pair.strangers[client_id]

    patch.setattr(BinanceVenue, "open_orders", open_orders)
    patch.setattr(reconcile, "_take_in_stranger", take_in)


def twice(patch: pytest.MonkeyPatch) -> None:
    """A network that brings every placement twice."""
    whole = network.Wire._arrive

    def arrive(self: network.Wire, asked: Any, then: str) -> None:
        if asked.method == "order.place":
            self._far.answer(asked, network.WELL)
        whole(self, asked, then)

    patch.setattr(network.Wire, "_arrive", arrive)


def forgetful(patch: pytest.MonkeyPatch) -> None:
    """An engine that decides as if nothing of it were live."""
    whole = PairDecider.decide

    def decide(self: PairDecider, layer: Any, book: Any, live: Any, *args: Any, **kwargs: Any) -> Any:
        return whole(self, layer, book, (), *args, **kwargs)

    patch.setattr(PairDecider, "decide", decide)
    patch.setattr(SendGate, "_in_the_way", lambda self, order: None)


def everybody_in(patch: pytest.MonkeyPatch) -> None:
    """Nobody asks whether another engine has the pair."""

    async def claim(self: FolderPresence, symbols: Any) -> None:
        return None

    patch.setattr(FolderPresence, "claim", claim)


def off_collar(patch: pytest.MonkeyPatch) -> None:
    whole = SendGate._as_asked

    def as_asked(self: SendGate, order: Order) -> NewOrder:
        asked = whole(self, order)
        return replace(asked, price=asked.price * 2, qty=asked.qty) if order.side is Side.SELL else asked

    patch.setattr(SendGate, "_as_asked", as_asked)


def no_stale_guard(patch: pytest.MonkeyPatch) -> None:
    async def never(pair: Any) -> None:
        await asyncio.Event().wait()

    patch.setattr(loop, "watch_book", never)


def deaf_to_halts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SendGate, "hold", lambda self, layer: None)


def proven_at_once(patch: pytest.MonkeyPatch) -> None:
    async def run(self: Sweeper) -> Swept:
        return Swept(proven=True)

    patch.setattr(Sweeper, "run", run)


def one_quote_less(patch: pytest.MonkeyPatch) -> None:
    whole = SendGate._reserved

    def reserved(self: SendGate, layer: Any, places: Any, decided_at_s: float) -> Any:
        return whole(self, layer, places[1:], decided_at_s)

    patch.setattr(SendGate, "_reserved", reserved)


def no_journal(patch: pytest.MonkeyPatch) -> None:
    async def commit(self: DrillJournal, entries: Any) -> None:
        return None

    patch.setattr(DrillJournal, "commit", commit)


def impatient(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RateGate, "held_s", lambda self, *, placing: 0.0)


def cancels_last(patch: pytest.MonkeyPatch) -> None:
    """A sender that lets everything leave before cancels that were held."""
    patch.setattr(Sender, "_cancels_wait", lambda self: False)


def drops_fills(patch: pytest.MonkeyPatch) -> None:
    whole = Ledger._count

    def count(self: Ledger, entry: Any, event: Any) -> bool:
        before = self.position
        new = whole(self, entry, event)
        self.position = before
        return new

    patch.setattr(Ledger, "_count", count)


@pytest.mark.parametrize(
    ("invariant", "spoil", "start"),  # from where on it does not take long
    [
        (1, self_trade, 1),
        (1, crossing, 1),
        (2, blind_to_old_orders, 6),
        (3, twice, 1),
        (4, forgetful, 1),
        (4, everybody_in, 5),
        (5, off_collar, 1),
        (6, no_stale_guard, 2),
        (7, deaf_to_halts, 1),
        (7, proven_at_once, 1),
        (8, one_quote_less, 1),
        (9, no_journal, 1),
        (10, impatient, 1),
        (10, cancels_last, 4),
        (11, drops_fills, 7),
    ],
)
def test_each_invariant_finds_what_breaks_it(
    invariant: int, spoil: Spoil, start: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch)
    broken = first_broken(start).broken
    assert broken is not None
    assert broken.invariant == invariant, broken


def test_what_an_ended_process_could_not_write_is_never_written(tmp_path: Path) -> None:
    """Its disk was full to the end: when the disk is mended, nobody is left who could write."""
    site = Mock(disk_full=True, disk_slow_s=0.0)
    store = JournalStore(tmp_path / "journal.db")
    journal = DrillJournal(store, Mock(alive=True), site)
    journal.note(Entry(Kind.START, 1, "mock", "main"))
    asyncio.run(journal.close())
    assert journal.fault == "the disk is full"
    site.disk_full = False
    journal.mend()
    store.close()
    with sqlite3.connect(tmp_path / "journal.db") as db:
        assert db.execute("SELECT count(*) FROM entries").fetchone() == (0,)
    db.close()
