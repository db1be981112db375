"""When a guard acts, and on what."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from mmctl.core.order import Layer
from mmctl.engine.guarding import Watch
from mmctl.engine.records import EngineRecord, LayerRecord, PairRecord
from mmctl.engine.registered import EngineState, Life

REDIS = "Redis at there:6379"


@dataclass
class BootClock:
    """Time that passes only when a test says so."""

    now_s: float = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    def wall_ms(self) -> int:
        return round(self.now_s * 1000)

    def boot_s(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("a look never waits")


def engine(
    epoch: int = 1,
    quiet_s: float = 0.1,
    life: Life = Life.LIVE,
    symbols: tuple[str, ...] = ("BTCUSDT",),
    where: str = "state folder",
) -> EngineState:
    pairs = tuple(PairRecord(symbol, symbol, (LayerRecord(Layer.NEAR, 3.0),)) for symbol in symbols)
    record = EngineRecord("binance", "main", None, epoch, "here", "", 7, "1", "live", 12.0, 0, 0, 0.0, 1, pairs)
    return EngineState(f"engine {epoch}", life, record, age_s=0.1, progress_age_s=quiet_s, where=where)


RUBBISH = EngineState("binance-main-1", Life.UNREADABLE, detail="it holds rubbish")
NO_REDIS = EngineState("engines on other hosts", Life.UNREADABLE, detail="no answer", where=REDIS, stands_for_all=True)
NO_FOLDER = EngineState("engines", Life.UNREADABLE, detail="it is not there any more", stands_for_all=True)


class Guarded:
    """A watch with ``after`` 10 s that has been looking for a minute."""

    def __init__(self, *states: EngineState, where: str = "") -> None:
        self.clock = BootClock()
        self.watch = Watch(self.clock, 10.0, where)
        self.told: list[str] = []
        self.look(60, *states)

    def look(self, for_s: float, *states: EngineState, aging: bool = False) -> None:
        """Look twice a second; with ``aging`` nothing is heard of the engines meanwhile."""
        for number in range(round(2 * for_s)):
            self.clock.now_s += 0.5
            shown = [_older(state, 0.5 * (number + 1)) for state in states] if aging else list(states)
            self.told += [str(finding.kind) for finding in self.watch.look(list(map(self._beating, shown)))]

    def _beating(self, state: EngineState) -> EngineState:
        """An engine in Redis that gets on, by its own wall clock, which may be any."""
        record = state.record
        if record is None or state.where != REDIS or state.detail == "hangs":
            return state
        now_ms = round(1000 * self.clock.now_s)
        pairs = tuple(replace(pair, progress_ms=now_ms) for pair in record.pairs)
        return replace(state, record=replace(record, beat=now_ms, pairs=pairs))


def _older(state: EngineState, by_s: float) -> EngineState:
    return replace(state, progress_age_s=None if state.progress_age_s is None else state.progress_age_s + by_s)


def test_no_engine_is_nothing_to_guard() -> None:
    guarded = Guarded()
    assert (guarded.watch.engines, guarded.told, guarded.watch.alarm()) == (0, [], None)


def test_an_engine_that_gets_on_is_left_alone() -> None:
    guarded = Guarded(engine())
    assert (guarded.told, guarded.watch.alarm()) == (["watching"], None)
    guarded.look(60, engine(quiet_s=9.9))
    assert (guarded.told, guarded.watch.alarm()) == (["watching"], None)


def test_an_engine_that_is_silent_for_longer_is_acted_on_until_it_gets_on() -> None:
    guarded = Guarded(engine())
    guarded.look(9.5, engine(), aging=True)
    assert guarded.watch.alarm() is None
    guarded.look(1.0, engine(quiet_s=9.6), aging=True)
    alarm = guarded.watch.alarm()
    assert alarm is not None
    assert (alarm.symbols, guarded.told) == (None, ["watching", "silent"])
    assert alarm.why == "engine 1 is silent for 11 s"
    guarded.watch.handled(alarm)
    guarded.look(60, engine(quiet_s=70))
    assert guarded.watch.alarm() is None, "it is halted, and the venue proven empty"
    guarded.look(1, engine())
    guarded.look(1, engine(quiet_s=20))
    assert guarded.told[2:] == ["well", "silent"]
    assert guarded.watch.alarm() is not None, "somebody resumed it"


def test_an_engine_that_ended_in_good_order_is_none_to_guard() -> None:
    guarded = Guarded(engine())
    guarded.look(60, replace(engine(), life=Life.ENDED))
    assert (guarded.told, guarded.watch.alarm()) == (["watching", "ended"], None)
    guarded.look(60)
    assert (guarded.told, guarded.watch.engines, guarded.watch.alarm()) == (["watching", "ended"], 0, None)


@pytest.mark.parametrize("where", [REDIS, "state folder"])
def test_a_record_that_is_gone_is_no_end_of_its_engine(where: str) -> None:
    there = engine(where=where)
    guarded = Guarded(there, where=REDIS)
    guarded.look(0.5)
    assert (guarded.told, guarded.watch.alarm()) == (["watching", "unknown"], None), "told at once"
    guarded.look(1, there)
    assert guarded.told == ["watching", "unknown", "well"]
    guarded.look(9)
    assert guarded.watch.alarm() is None
    guarded.look(2)
    alarm = guarded.watch.alarm()
    assert alarm is not None
    assert (alarm.engines[0].epoch, guarded.told[3:]) == (1, ["unknown"])
    assert "did not say that it ended" in alarm.engines[0].detail
    guarded.watch.handled(alarm)
    guarded.look(60, there)
    guarded.look(60, replace(there, life=Life.ENDED))
    assert guarded.told[4:] == ["well", "ended"]


def test_an_engine_acted_on_whose_record_goes_then_is_no_news() -> None:
    hung = replace(engine(quiet_s=99), where="state folder")
    guarded = Guarded(hung, where=REDIS)
    alarm = guarded.watch.alarm()
    assert alarm is not None
    guarded.watch.handled(alarm)
    guarded.look(60)
    guarded.look(60, hung)
    assert (guarded.told, guarded.watch.alarm()) == (["silent"], None)


def test_rubbish_that_somebody_removed_hides_no_engine() -> None:
    guarded = Guarded(RUBBISH)
    guarded.look(60)
    assert (guarded.told, guarded.watch.engines, guarded.watch.alarm()) == (["unknown", "gone"], 0, None)


def test_an_engine_that_is_gone_is_not_missed_where_another_took_over() -> None:
    guarded = Guarded(engine(where=REDIS), where=REDIS)
    guarded.look(60, engine(2, where=REDIS))
    assert (guarded.told, guarded.watch.alarm()) == (["watching", "watching", "unknown"], None)


def test_a_dead_engine_is_acted_on_unless_another_takes_over() -> None:
    dead = engine(life=Life.DEAD)
    guarded = Guarded(engine())
    guarded.look(9, dead)
    assert (guarded.told, guarded.watch.alarm()) == (["watching", "dead"], None)
    guarded.look(60, dead, engine(2))
    assert guarded.watch.alarm() is None
    guarded = Guarded(engine())
    guarded.look(11, dead, engine(2, symbols=("ETHUSDT",)))
    alarm = guarded.watch.alarm()
    assert alarm is not None, "the younger one quotes something else"
    assert alarm.symbols == ("BTCUSDT",)


def test_engines_that_are_well_are_not_stopped_for_another_one() -> None:
    both = (engine(1), engine(2, symbols=("ETHUSDT",)))
    guarded = Guarded(*both)
    guarded.look(1, replace(both[0], progress_age_s=30.0), both[1])
    alarm = guarded.watch.alarm()
    assert alarm is not None
    assert ([one.epoch for one in alarm.engines], alarm.symbols) == ([1], ("BTCUSDT",))
    guarded.look(1, *(replace(one, progress_age_s=30.0) for one in both))
    alarm = guarded.watch.alarm()
    assert alarm is not None
    assert (len(alarm.engines), alarm.symbols) == (2, None)


def test_what_cannot_be_read_is_told_at_once_and_acted_on_after() -> None:
    guarded = Guarded()
    guarded.look(0.5, RUBBISH)
    assert (guarded.told, guarded.watch.alarm()) == (["unknown"], None)
    guarded.look(11, RUBBISH)
    alarm = guarded.watch.alarm()
    assert alarm is not None
    assert (guarded.told, alarm.symbols) == (["unknown"], None)


def test_a_redis_that_is_away_hides_only_engines_that_were_seen_there() -> None:
    guarded = Guarded(engine(), where=REDIS)
    guarded.look(60, engine(), NO_REDIS)
    assert (guarded.told, guarded.watch.alarm()) == (["watching", "unknown"], None)
    guarded = Guarded(engine(where=REDIS), where=REDIS)
    guarded.look(9, NO_REDIS)
    assert (guarded.told, guarded.watch.alarm()) == (["watching", "unknown", "unknown"], None)
    guarded.look(3, NO_REDIS)
    alarm = guarded.watch.alarm()
    assert alarm is not None
    assert [one.name for one in alarm.engines] == ["engine 1"]
    guarded.look(1, engine(where=REDIS))
    assert guarded.told[3:] == ["well", "well"]


def test_a_folder_that_cannot_be_read_any_more_has_not_ended_its_engines() -> None:
    guarded = Guarded(engine())
    guarded.look(9, NO_FOLDER)
    assert (guarded.told, guarded.watch.alarm()) == (["watching", "unknown", "unknown"], None)
    guarded.look(3, NO_FOLDER)
    assert guarded.watch.alarm() is not None
    guarded.look(1, engine())
    assert sorted(guarded.told[3:]) == ["well", "well"]


@pytest.mark.parametrize("ahead_s", [-3600.0, 0.0, 3600.0])
def test_the_wall_clock_of_another_host_says_nothing(ahead_s: float) -> None:
    there = replace(engine(quiet_s=max(0.0, -ahead_s), where=REDIS), age_s=max(0.0, -ahead_s))
    guarded = Guarded(there, where=REDIS)
    assert (guarded.told, guarded.watch.alarm()) == (["watching"], None)
    hangs = replace(guarded._beating(there), detail="hangs")
    guarded.look(9, hangs)
    assert guarded.watch.alarm() is None
    guarded.look(2, hangs)
    assert guarded.watch.alarm() is not None
    guarded.look(1, there)
    assert guarded.told == ["watching", "silent", "well"]


@pytest.mark.parametrize("state", [engine(quiet_s=500.0), engine(life=Life.DEAD), RUBBISH], ids=lambda one: one.life)
def test_a_guard_that_has_just_begun_or_slept_gives_them_time(state: EngineState) -> None:
    guarded = Guarded()
    guarded.clock.now_s += 3600  # the machine was suspended
    guarded.look(9, state)
    assert guarded.watch.alarm() is None
    guarded.look(2, state)
    assert guarded.watch.alarm() is not None


def test_a_hung_engine_that_is_killed_gains_no_time() -> None:
    guarded = Guarded(engine())
    guarded.look(1, engine(quiet_s=10.5))
    guarded.look(0.5, engine(quiet_s=11.0, life=Life.DEAD))
    assert guarded.watch.alarm() is not None
