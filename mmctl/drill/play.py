"""One seed, from its first order to its last: trouble, then calm, then a stop that has to be right."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from mmctl.core.order import Layer
from mmctl.core.report import Report, RoundDone, Skipped
from mmctl.drill.engines import EngineRun, StopRun, take_apart
from mmctl.drill.market import STEP_S
from mmctl.drill.site import Script, Site
from mmctl.drill.timeline import Timeline
from mmctl.drill.trouble import Trouble
from mmctl.drill.watch import LOOK_EVERY_S, Broken, Trace, Watch
from mmctl.engine.journal_store import JournalStore
from mmctl.engine.records import this_machine

MOST_TROUBLE_S = 300.0
CALM_AT_MOST_S = 400.0
"""Besides the longest intervals: bans, back-off and landing times are over long before."""
START_AGAIN_S = 2.0
BALANCES_TOLD_S = 130.0
"""Within this time an engine has read its balances twice."""
CALM_ROUNDS = 2
COLLECT_EVERY = 10
"""A seed leaves two megabytes behind: memory that was just in use is quicker than memory that is new."""
MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Played:
    """How one seed went."""

    seed: int
    rounds: int
    faults: Counter[str]
    broken: Broken | None
    trace_sha256: str
    schedule: tuple[str, ...] = ()
    """What was done to it, where something broke."""


def play(script: Script, seed: int, rounds: int, trace_to: TextIO | None = None) -> Played:
    """Play one seed to its end, or to the first invariant that breaks."""
    # Collecting garbage takes time at moments of its own choosing: what seeds leave is collected between them.
    gc.disable()
    folder = Path(tempfile.mkdtemp(prefix="mmctl-drill-", dir=MEMORY if MEMORY.is_dir() else None))
    try:
        return _Seed(script, seed, rounds, folder, trace_to).play()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if seed % COLLECT_EVERY == 0:
            gc.collect()
        gc.enable()


class _Seed:
    def __init__(self, script: Script, seed: int, rounds: int, state_dir: Path, trace_to: TextIO | None) -> None:
        self.state_dir = state_dir
        self._seed, self._rounds = seed, rounds
        mine = f"pid {os.getpid()} on {this_machine()[0]}"
        self._trace = Trace(trace_to, {os.fspath(state_dir): "STATE", mine: "pid 1 on drill"})
        self.watch = Watch(seed, self._trace)
        self._timeline = Timeline()
        self.site = self.watch.site = Site(script, self._timeline, self.watch, seed)
        self._store = JournalStore(None)
        self.engine: EngineRun | None = None
        self._trouble = Trouble(self, seed)
        self._done_rounds = self._turns = 0
        self._in_calm = False
        self._longest_s = max(layer.interval_s for spec in script.specs for layer in spec.layers)

    def play(self) -> Played:
        try:
            self._play()
        finally:
            self._trace.ended = True
            for process in [run.process for run in self.watch.engines] + [stop.process for stop in self.watch.stops]:
                process.bury()
            self._store.close()
        broken = self.watch.broken
        schedule = tuple(self.watch.schedule) if broken is not None else ()
        played = Played(self._seed, self._done_rounds, self.watch.faults, broken, self._trace.sha256, schedule)
        self._take_apart()
        return played

    def _take_apart(self) -> None:
        for run in self.watch.engines:
            run.take_apart()
        for stop in self.watch.stops:
            stop.take_apart()
        site = self.site
        take_apart(*site.streets.values(), site.exchange, site.air, site, self.watch, self._trouble, self._timeline)

    def _play(self) -> None:
        self.start_engine()
        self._every(STEP_S, self._move)
        self._every(LOOK_EVERY_S, self._look)
        self._trouble.begin()
        self._until(MOST_TROUBLE_S, lambda: self._turns >= self._rounds)
        self._settle()
        if self.watch.broken is None:
            self._stop()
        self.watch.check_journal(self._store)

    def _until(self, seconds: float, done: Callable[[], bool]) -> bool:
        return self._timeline.run(self._timeline.now_s + seconds, lambda: self.watch.broken is not None or done())

    def _every(self, seconds: float, act: Callable[[], None]) -> None:
        def again() -> None:
            act()
            self._timeline.after(seconds, again)

        self._timeline.after(seconds, again)

    def _move(self) -> None:
        for street in self.site.streets.values():
            street.move()

    def _look(self) -> None:
        self.watch.look()
        self._mind_engine()

    # Engines and stops come and go

    def start_engine(self) -> None:
        """Start an engine, as the one that is to run."""
        self.engine = self._started()

    def start_second(self) -> None:
        """Start one more, while another runs."""
        self._started()

    def _started(self) -> EngineRun:
        number = len(self.watch.engines) + 1
        self.watch.note(f"start engine {number}")
        run = EngineRun(self.site, self._store, self.state_dir, number, self._seed, self._report)
        run.on_end = self.watch.ended_well
        self.watch.engines.append(run)
        return run

    def start_stop(self, account: str, layer: Layer | None, uids: Collection[str]) -> None:
        """Start a stop in a process of its own."""
        number = len(self.watch.stops) + 1
        stop = StopRun(self.site, self.state_dir, number, self._seed, account, layer, uids)
        stop.on_end = self.watch.check_stop
        self.watch.stops.append(stop)

    @property
    def stop_sweeps(self) -> bool:
        return any(not stop.main.done() for stop in self.watch.stops)

    def _mind_engine(self) -> None:
        """What a service manager does: an engine that ended by itself is started again after a while."""
        for run in self.watch.engines:
            if run.up and run is not self.engine:
                self.engine = run  # it came just when the other one went
            if not run.main.done() or not run.process.alive:
                continue
            run.process.alive = False
            error = run.main.exception()
            if error is not None:
                self.watch.fail(0, f"{run.process.name} ended with {type(error).__name__}: {error}")
            self.watch.note(f"{run.process.name} ended {run.failure}")
            self.watch.check_shutdown(run)
            if run is self.engine:
                self._timeline.after(START_AGAIN_S, self.start_engine)

    def _report(self, run: EngineRun, report: Report) -> None:
        if isinstance(report, RoundDone) and not report.follow_up:
            self._done_rounds += 1
            self._turns += 1
        elif isinstance(report, Skipped):
            self._turns += 1
        self._trace.line(self._timeline.now_s, f"{run.process.name} {type(report).__name__} {_brief(report)}")

    # Calm

    def _settle(self) -> None:
        """Two whole rounds of each layer in calm, and the venue is as it should be."""
        if self.watch.broken is not None:
            return
        self._trouble.peace()
        self._until(MOST_TROUBLE_S, lambda: not self.stop_sweeps)
        self._trouble.lift()
        self._end_older_engines()
        seen: dict[tuple[str, Layer], int] = {}

        def calm() -> bool:
            run = self.engine
            if run is None or not run.up or run.process.suspended or not self.watch.is_well(run):
                seen.clear()
                return False
            if not seen:
                seen.update({key: run.rounds.get(key, 0) + CALM_ROUNDS for key in _layers(run)})
            return all(run.rounds.get(key, 0) >= much for key, much in seen.items()) and self.watch.is_idle(run)

        came = self._look_until(CALM_AT_MOST_S + 4 * self._longest_s, calm)
        if self.watch.broken is not None or self.engine is None:
            return
        if not came:
            self.watch.fail(8, f"no two rounds of each layer without trouble in calm: {self._why_not()}")
            return
        self.watch.check_calm(self.engine)
        run = self.engine
        # Money that was set aside for an order counts twice until balances are told again: the next turns see to that.
        if not self._look_until(BALANCES_TOLD_S, lambda: not self.watch.wrong_balance(run)):
            self.watch.fail(11, self.watch.wrong_balance(run))

    def _look_until(self, seconds: float, done: object) -> bool:
        """As ``_until``, but ``done`` is asked four times a second, in between everything else."""
        assert callable(done)
        came = False

        def ask() -> None:
            nonlocal came
            came = came or done()
            if not came:
                self._timeline.after(0.25, ask)

        ask()
        self._until(seconds, lambda: came)
        return came

    def _end_older_engines(self) -> None:
        for run in self.watch.engines:
            run.process.resume()
            if run is not self.engine and run.process.alive:
                run.kill()

    def _why_not(self) -> str:
        run = self.engine
        if run is None or not run.up:
            return "the engine is not up"
        waits = [f"{pair.spec.name}: {state.status}" for pair in run.pairs.values() for state in pair.layers.values()]
        return "; ".join(waits)

    # The end

    def _stop(self) -> None:
        """SIGTERM in half of the seeds, a stop from outside in the others: both have to be proven, and right."""
        run = self.engine
        assert run is not None
        if self._seed % 2:
            run.terminate()
            if not self._until(120.0, run.main.done):
                self.watch.fail(7, "the engine does not end")
            elif run.swept is None or not all(one.proven for one in run.swept):
                self.watch.fail(7, "a shutdown in calm was not proven")
            self.watch.check_shutdown(run)
            return
        for account in dict.fromkeys(spec.account for spec in self.site.script.specs):
            venue = next(spec.venue for spec in self.site.script.specs if spec.account == account)
            self.start_stop(account, None, (self._trouble.halt_account(venue, account),))
        if not self._until(300.0, lambda: not self.stop_sweeps):
            self.watch.fail(7, "a stop does not end")
        self.watch.look()
        if self.watch.broken is None and not all(stop.swept and stop.swept.proven for stop in self.watch.stops[-1:]):
            self.watch.fail(7, "a stop in calm was not proven")


def _layers(run: EngineRun) -> list[tuple[str, Layer]]:
    return [(pair.spec.name, layer) for pair in run.pairs.values() for layer in pair.layers]


def _brief(report: Report) -> str:
    if isinstance(report, RoundDone):
        return (
            f"{report.pair} {report.layer} {report.round} {len(report.keep)}/{len(report.place)}/{len(report.cancel)}"
        )
    detail = getattr(report, "detail", "")
    return f"{getattr(report, 'pair', '')} {getattr(report, 'kind', getattr(report, 'reason', ''))} {detail}"
