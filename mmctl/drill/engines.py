"""Engines and stops of a drill, each in a process of its own: the real ones, on the drill's network and clock."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from mmctl.bootstrap import coarser
from mmctl.core.book import Book, BookKey
from mmctl.core.entries import Entry, Kind
from mmctl.core.freshness import BookAge
from mmctl.core.order import CancelOrder, CancelState, Layer, NewOrder
from mmctl.core.report import Report, RoundDone
from mmctl.core.spec import PairSpec
from mmctl.drill.market import DrillFeed
from mmctl.drill.network import Host
from mmctl.drill.site import Site
from mmctl.drill.timeline import DrillClock, Process
from mmctl.engine.desk import AccountDesk
from mmctl.engine.epoch import next_epoch
from mmctl.engine.folder_presence import FolderPresence
from mmctl.engine.halt import FileHaltLatch
from mmctl.engine.journal import SyncJournal
from mmctl.engine.journal_store import JournalStore
from mmctl.engine.loop import Engine, Limits
from mmctl.engine.pair import Pair
from mmctl.engine.registered import engines
from mmctl.engine.roll import Roll
from mmctl.engine.sweep import Sweeper
from mmctl.engine.swept import Scope, Swept
from mmctl.errors import JournalUnwritable, MmctlError
from mmctl.venues.binance import BinanceUrls, BinanceVenue
from mmctl.venues.binance_stop import BinanceStopVenue
from mmctl.wire.binance_limits import Limit

URLS = BinanceUrls("http://127.0.0.1", "ws://127.0.0.1/ws-api/v3", "ws://127.0.0.1")
STOP_DEADLINE_S = 60.0


class DrillJournal(SyncJournal):
    """The journal of one process: what it had not written when it was killed is lost, and its disk may fail."""

    def __init__(self, store: JournalStore, process: Process, site: Site) -> None:
        super().__init__(store)
        self._process, self._site = process, site
        self.intents: set[str] = set()
        """Orders that this process has written down before it placed them."""

    async def commit(self, entries: Sequence[Entry]) -> None:
        if self._site.disk_slow_s:
            await asyncio.sleep(self._site.disk_slow_s)
        await super().commit(entries)

    async def close(self) -> None:
        await super().close()
        self._noted.clear()  # what a full disk did not take until then is lost with the process

    def mend(self) -> None:
        """The disk is as it was: what waited is written, as a journal with a thread does by itself."""
        with contextlib.suppress(JournalUnwritable):
            self._write(())

    def _write(self, entries: Sequence[Entry]) -> None:
        if not self._process.alive:
            raise JournalUnwritable("the process is dead")
        if self._site.disk_full:
            self.fault = "the disk is full"
            raise JournalUnwritable(self.fault)
        super()._write(entries)
        self.intents.update(entry.client_id for entry in entries if entry.kind is Kind.INTENT)


class DrillVenue(BinanceVenue):
    """The engine's venue; the drill hears of the cancels that it is given, whether or not they leave."""

    host: Host

    def submit(self, places: Sequence[NewOrder], cancels: Sequence[CancelOrder]) -> None:
        self.host.asked_to_cancel(cancels)
        super().submit(places, cancels)

    def rates(self) -> list[tuple[Limit, int]]:
        """What is used of each limit now."""
        return self._gate.ledger.counts(self._server.now_ms())

    def take_apart(self) -> None:
        take_apart(self._sender, self._reads, self._requests, self._links, self._keeper, self._gate, self)


class DrillStopVenue(BinanceStopVenue):
    """As ``DrillVenue``, for a stop."""

    host: Host

    def submit(self, places: Sequence[NewOrder], cancels: Sequence[CancelOrder]) -> None:
        self.host.asked_to_cancel([one for one in cancels if not self.waits_for(one.client_id)])
        super().submit(places, cancels)


def take_apart(*things: object) -> None:
    """Let go of all that ``things`` hold, at the end of a seed.

    They hold each other in many circles, and to find those out is the garbage collector's work of a twentieth of all
    the time.
    """
    for thing in things:
        vars(thing).clear()


class EngineRun:
    """One engine, from its start to its end."""

    def __init__(
        self,
        site: Site,
        store: JournalStore,
        state_dir: Path,
        number: int,
        seed: int,
        on_report: Callable[[EngineRun, Report], None],
    ) -> None:
        self.site = site
        self.number = number
        self.process = Process(site.timeline, f"engine {number}")
        self.host = Host(site.air, self.process, random.Random(f"engine {seed} {number}"))
        self.clock = DrillClock(self.process, site.wall_ms, lambda: site.timeline.now_s)
        self.journal = DrillJournal(store, self.process, site)
        self.ready = False
        self.engine: Engine | None = None
        self.pairs: dict[tuple[str, str], Pair] = {}
        """By account and symbol."""
        self.venues: list[DrillVenue] = []
        self.presences: list[FolderPresence] = []
        self.ages: dict[tuple[str, str], BookAge] = {}
        """What the feed told this engine, judged apart from what it made of it."""
        self.epoch = 0
        self.began_s = site.timeline.now_s
        self.rounds: dict[tuple[str, Layer], int] = {}
        self.stopping = False
        self.swept: list[Swept] | None = None
        self.stopped_at_s: float | None = None
        self._ended_well: list[str] = []
        self.on_end: Callable[[list[str]], None] = lambda accounts: None
        """Hears of the accounts on which the run ended in good order: what is counted begins anew there."""
        self.failure = ""
        self._state_dir = state_dir
        self._on_report = on_report
        self._stop = asyncio.Event()
        self.main = self.process.start(self._main())

    @property
    def up(self) -> bool:
        """Whether it quotes, as far as anybody outside can tell."""
        return self.process.alive and self.ready and not self.main.done()

    def kill(self) -> None:
        """As kill -9 does: nothing of it runs any more, and its locks are free."""
        self.process.kill()
        for presence in self.presences:
            presence.abandon()

    def take_apart(self) -> None:
        """Nobody asks it anything any more."""
        for pair in self.pairs.values():
            take_apart(pair.desk, pair.gate, pair)
        for venue in self.venues:
            venue.take_apart()
        take_apart(*self.presences, *filter(None, (self.engine,)), self.process.loop, self.process, self.host, self)

    def terminate(self) -> None:
        """As SIGTERM does."""
        self.stopping = True
        self.process.call(self._stop.set)

    async def _main(self) -> None:
        try:
            await self._open()
            await self._quote()
        except MmctlError as error:
            self.failure = str(error)
        finally:
            for presence in self.presences:
                await presence.end()
            for venue in self.venues:
                await venue.close()
            await self.journal.close()
            if self.process.alive and not self.journal.fault:
                self.on_end(self._ended_well)

    async def _open(self) -> None:
        site, latch = self.site, FileHaltLatch(self._state_dir)
        desks: dict[str, AccountDesk] = {}
        pairs = []
        for spec in site.script.specs:
            if spec.account not in desks:
                venue = await self._venue(spec)
                presence = FolderPresence(self._state_dir, venue, self.clock, latch, self._report)
                self.presences.append(presence)
                desks[spec.account] = AccountDesk(venue, self.clock, self._report, self.journal, presence)
            desk = desks[spec.account]
            instrument = coarser(await desk.venue.instrument(spec.symbol), spec)
            pair = Pair(spec, instrument, desk, latch, self._report)
            pairs.append(pair)
            self.pairs[spec.account, spec.symbol] = pair
            self.ages[spec.account, spec.symbol] = BookAge(spec.frozen_after_s, self.clock.monotonic())
        self.feed = DrillFeed(site.streets, self._on_book)
        self.engine = Engine(pairs, self.feed, self.clock)
        await self.engine.prepare(self._next_epoch)
        self.epoch = max(desk.epoch for desk in desks.values())
        self.ready = True

    async def _venue(self, spec: PairSpec) -> DrillVenue:
        key, secret = self.site.account_key(spec.account)
        venue = DrillVenue(
            self.clock, account=spec.account, key=key, secret=secret, urls=URLS, mode="sandbox",
            network=self.host.network, name=spec.venue,
        )  # fmt: skip
        venue.host = self.host
        self.venues.append(venue)
        await venue.open()
        return venue

    def _next_epoch(self, desk: AccountDesk, seen: int) -> int:
        venue = desk.venue
        return next_epoch(
            self._state_dir, venue.name, venue.account, wall_ms=self.site.wall_ms(), seen=seen, user_id=venue.user_id
        )

    def waits_for(self, client_id: str) -> bool:
        """Whether the cancel of that order has no outcome yet."""
        orders = (pair.ledger.find(client_id) for pair in self.pairs.values())
        return any(one is not None and one.is_live and one.cancel is CancelState.SENT for one in orders)

    async def _quote(self) -> None:
        assert self.engine is not None
        running = asyncio.create_task(self.engine.run(Limits()))
        waiting = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            running.cancel()
            ended = await asyncio.gather(running, waiting, return_exceptions=True)
            if not self.process.buried:
                await self._sweep(self.engine)
        if isinstance(ended[0], Exception):
            raise ended[0]

    async def _sweep(self, engine: Engine) -> None:
        swept = await engine.stop(leave_orders=False, deadline_s=STOP_DEADLINE_S)
        self.swept = list(swept.values())
        self._ended_well = [desk.venue.account for desk, one in swept.items() if one.proven]
        self.stopped_at_s = self.site.timeline.now_s

    def _on_book(self, key: BookKey, book: Book) -> None:
        for pair in self.pairs.values():
            if pair.spec.follow == key:
                age = self.ages[pair.spec.account, pair.spec.symbol]
                age.observe(book, self.site.wall_ms(), self.process.time_s)

    def _report(self, report: Report) -> None:
        if isinstance(report, RoundDone) and not report.follow_up:
            key = (report.pair, report.layer)
            self.rounds[key] = self.rounds.get(key, 0) + 1
        self._on_report(self, report)


class StopRun:
    """A stop from another process: it lists and cancels until the venue is proven empty."""

    def __init__(
        self,
        site: Site,
        state_dir: Path,
        number: int,
        seed: int,
        account: str,
        layer: Layer | None,
        uids: Collection[str],
    ) -> None:
        self.site, self.account, self.layer = site, account, layer
        self._state_dir, self._uids = state_dir, uids
        self.process = Process(site.timeline, f"stop {number}")
        self.host = Host(site.air, self.process, random.Random(f"stop {seed} {number}"))
        self.clock = DrillClock(self.process, site.wall_ms, lambda: site.timeline.now_s)
        self.specs = [spec for spec in site.script.specs if spec.account == account]
        self.venue_name = self.specs[0].venue
        self.swept: Swept | None = None
        self.began_s = site.timeline.now_s
        self.on_end: Callable[[StopRun], None] = lambda stop: None
        """Hears at once of what it came to: what is open later may have come after a resume."""
        self.main = self.process.start(self._main())

    def take_apart(self) -> None:
        """Nobody asks it anything any more."""
        take_apart(self.process.loop, self.process, self.host, self)

    def waits_for(self, client_id: str) -> bool:
        """Whether the cancel of that order has no outcome yet."""
        return self._venue.waits_for(client_id)

    async def _main(self) -> None:
        key, secret = self.site.account_key(self.account)
        venue = self._venue = DrillStopVenue(
            self.clock, account=self.account, key=key, secret=secret, rest_url=URLS.rest,
            link=self.host.stop_link, name=self.venue_name,
        )  # fmt: skip
        venue.host = self.host
        longest_s = max(layer.interval_s for spec in self.specs for layer in spec.layers)
        symbols = tuple(spec.symbol for spec in self.specs)
        roll = Roll(
            lambda: engines(self._state_dir, self.venue_name, self.account, self.clock, ended=True), self._uids,
            layer=self.layer, symbols=symbols, landing_time_s=venue.landing_time_s, stranger_interval_s=longest_s,
        )  # fmt: skip
        sweeper = Sweeper(
            venue,
            self.clock,
            Scope(symbols, self.layer),
            deadline_s=STOP_DEADLINE_S,
            roll=roll,
        )
        venue.listen(lambda symbol, event: sweeper.on_event(event))
        try:
            await venue.open()
            self.swept = await sweeper.run()
            self.on_end(self)
        finally:
            await venue.close()
