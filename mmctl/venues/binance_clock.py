"""The venue's time as we know it, and the times that the venue keeps to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mmctl.ports import Clock

SAMPLES = 3


@dataclass(frozen=True, slots=True)
class BinanceTimes:
    """Seconds, but for ``recv_window_ms``. ``settle_s`` is our judgement: the documents promise no bound.

    ``quiet_s`` is how long a socket may say nothing before it is asked something, ``probe_s`` how soon it must answer;
    ``stream_lag_s`` is how long after an order's acceptance its report may take on the user data stream.
    """

    recv_window_ms: int = 2000
    settle_s: float = 10.0
    request_timeout_s: float = 5.0
    read_timeout_s: float = 10.0
    connect_timeout_s: float = 5.0
    reconnect_first_s: float = 1.0
    reconnect_most_s: float = 30.0
    quiet_s: float = 10.0
    probe_s: float = 5.0
    stream_lag_s: float = 5.0

    @property
    def landing_time_s(self) -> float:
        return self.recv_window_ms / 1000 + self.settle_s


class ServerClock:
    """The venue's time: this machine's wall clock and an offset that is measured."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.offset_ms = 0
        """The venue's time less ours."""
        self.round_trip_ms: int | None = None
        """Of the sample that the offset is from; half of it bounds the error. ``None`` before the first."""

    def now_ms(self) -> int:
        """The venue's time in ms since the epoch."""
        return self._clock.wall_ms() + self.offset_ms

    async def measure(self, ask: Callable[[], Awaitable[int]]) -> None:
        """Take the offset of the quickest of a few round trips; raises what ``ask`` raises."""
        samples = []
        for _ in range(SAMPLES):
            sent_ms = self._clock.wall_ms()
            server_ms = await ask()
            back_ms = self._clock.wall_ms()
            samples.append((back_ms - sent_ms, server_ms - (sent_ms + back_ms) // 2))
        self.round_trip_ms, self.offset_ms = min(samples)
