"""What the network and the venue do wrong at the moment: rates and times, all nothing in calm weather."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Weather:
    """Rates are shares of requests, connections or user events; times are in seconds."""

    latency_s: float = 0.002
    jitter_s: float = 0.001
    request_lost: float = 0.0
    reply_lost: float = 0.0
    reply_repeated: float = 0.0
    delayed: float = 0.0
    """Requests that arrive up to ``delay_s`` late, others overtake them."""
    delay_s: float = 3.0
    reply_late: float = 0.0
    """Replies that come up to ``delay_s`` late."""
    unavailable: float = 0.0
    """5xx, half of them after the request was done."""
    cut: float = 0.0
    """The connection breaks before the request arrives, or after it and before its reply."""
    connect_failed: float = 0.0
    event_lost: float = 0.0
    event_repeated: float = 0.0
    event_reordered: float = 0.0
    listing_lag_s: float = 0.0


CALM = Weather()


def draw(dice: random.Random) -> Weather:
    """Bad weather: most of it good, and one to three things bad."""
    weather = replace(CALM, latency_s=dice.choice((0.0, 0.002, 0.02, 0.15)), jitter_s=dice.choice((0.0, 0.005, 0.1)))
    for _ in range(dice.randint(1, 3)):
        name, values = dice.choice(_TROUBLES)
        weather = replace(weather, **{name: dice.choice(values)})
    return weather


_TROUBLES: tuple[tuple[str, tuple[float, ...]], ...] = (
    ("request_lost", (0.02, 0.2, 1.0)),
    ("reply_lost", (0.02, 0.2, 1.0)),
    ("reply_repeated", (0.1, 0.5)),
    ("delayed", (0.05, 0.3)),
    ("delay_s", (0.5, 1.5, 4.0, 11.0)),
    ("reply_late", (0.05, 0.3)),
    ("unavailable", (0.05, 0.3, 1.0)),
    ("cut", (0.01, 0.1)),
    ("connect_failed", (0.5, 1.0)),
    ("event_lost", (0.02,)),
    ("event_repeated", (0.1, 0.5)),
    ("event_reordered", (0.1, 0.5)),
    ("listing_lag_s", (0.05, 1.0, 5.0)),
)
