"""What status, halt and guard say, in words and as JSON."""

from __future__ import annotations

import json

import pytest

from mmctl.core.order import Layer
from mmctl.core.report import EngineSeen
from mmctl.core.status import Condition, EngineShown, GuardTold, HaltShown, LayerShown, PairShown, Status
from mmctl.views import status as views

PAIR = PairShown("BTC-USDT", "BTCUSDT", 900.0, (LayerShown(Layer.NEAR, "ok", 10, 2), LayerShown(Layer.FAR, "", 0, 0)))
ENGINE = EngineShown(
    "engine 7 (pid 42 on a)", Condition.HELD, "state folder", "binance", "main", 7, "a", 42, "live", "1.0", 5, 120.4,
    (PAIR,), "the lease is over", "",
)  # fmt: skip
AWAY = EngineShown("engine 8", Condition.SILENT, "Redis at b:1", "binance", "main", 8, age_ms=9e6)
HALT = HaltShown("u1", "binance", "second", None, Layer.NEAR, "anna", 5, "drill\x1b[2J", "halt 1: near\x1b[2J")

TEXT = """\
binance account main
  engine 7 (pid 42 on a) live: held, told 0.1s ago
    the lease is over
    BTC-USDT near ok, 10 open, 2 unanswered; far starting, 0 open; got on 0.9s ago
  engine 8: silent, told 2h ago, by Redis at b:1
binance account second
  no engine can be seen
  halt 1: near [2J
not read: Redis is away"""


def test_status_in_words() -> None:
    assert views.text(Status((ENGINE, AWAY), (HALT,), ("Redis is away",))) == TEXT
    assert views.text(Status((), ())) == "no engine known\nnothing is halted"
    assert views.text(Status((), (), ("Redis is away",))) == "no halt is known\nnot read: Redis is away"


def test_status_as_json() -> None:
    whole = json.loads(views.as_json(Status((ENGINE,), (HALT,))))
    assert (whole["v"], whole["event"], "unread" in whole) == (1, "status", False)
    (engine,), (halt,) = whole["engines"], whole["halts"]
    assert (engine["condition"], engine["age_ms"], engine["held"]) == ("held", 120, "the lease is over")
    assert engine["pairs"][0]["progress_age_ms"] == 900
    assert (halt["layer"], halt["symbol"], halt["by"]) == ("near", None, "anna")
    nothing = json.loads(views.as_json(Status((), (), ("Redis is away",))))
    assert (nothing["engines"], nothing["halts"], nothing["unread"]) == (None, None, "Redis is away")


@pytest.mark.parametrize(
    ("status", "look"),
    [
        (Status((), ()), False),
        (Status((EngineShown("e", Condition.QUOTING, "", "v", "a"),), ()), False),
        (Status((ENGINE,), ()), True),
        (Status((), (HALT,)), True),
        (Status((), (), ("Redis is away",)), True),
    ],
)
def test_what_needs_a_look(status: Status, look: bool) -> None:
    assert status.needs_a_look is look


@pytest.mark.parametrize(
    ("age_ms", "said"),
    [(None, "unknown"), (0.0, "0.0s"), (119_900, "119.9s"), (7_000_000, "117m"), (1.7e8, "47h"), (8.64e8, "10d")],
)
def test_ages(age_ms: float | None, said: str) -> None:
    assert views.age(age_ms) == said


def test_what_halt_and_guard_say() -> None:
    seen = [EngineSeen("engine 7", 7, "not_reached")]
    assert views.halted("set", [HALT], seen) == "halt 1: near [2J\nengine 7: not reached"
    assert views.halted("failed", [HALT], []) == "not everywhere: halt 1: near [2J\nno engine known"
    assert json.loads(views.halted_json("failed", [HALT], seen))["engines"][0]["state"] == "not_reached"
    told = GuardTold(1_800_000_000_123, "not_proven", "binance", "main", "engine 7", 7, "stopping again\nin 1 s")
    assert views.guard(told) == "08:00:00.123 binance account main: not proven: stopping again in 1 s"
    assert json.loads(views.guard_json(told))["kind"] == "not_proven"
