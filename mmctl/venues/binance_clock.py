"""The venue's time as we know it, and the times that the venue keeps to.

It is the monotonic clock and what was measured against it. So a wall clock that is set on this machine moves no time
stamp, and no limit's interval.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mmctl.errors import VenueError
from mmctl.ports import Clock

SAMPLES = 3

MEASURE_EVERY_S = 60.0
LOOK_EVERY_S = 1.0
LEAST_BETWEEN_S = 10.0
"""Between two measurements that were not due by time: a connection that flutters makes no flood of them."""

STEP_MS = 250
"""A wall clock that has moved by so much against the monotonic one was set, or this machine was asleep."""


@dataclass(frozen=True, slots=True)
class BinanceTimes:
    """Seconds, but for ``recv_window_ms``. ``settle_s`` is our judgement: the documents promise no bound.

    ``quiet_s`` is how long a socket may say nothing before it is asked something, ``probe_s`` how soon it must answer;
    ``stream_lag_s`` is how long after an order's acceptance its report may take on the user data stream. A connection
    for orders is left after ``connection_s``, before the venue cuts it at the end of a day with whatever is on its way.
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
    connection_s: float = 23.5 * 3600

    @property
    def landing_time_s(self) -> float:
        return self.recv_window_ms / 1000 + self.settle_s


class ServerClock:
    """The venue's time. Before the first measurement it is what the wall clock showed when it was first asked for.

    It goes by the monotonic clock that counts suspended time: the venue's goes on meanwhile.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead_ms: int | None = None
        """The venue's time less the monotonic clock."""
        self._wall_ahead_ms = 0
        """The wall clock less the monotonic one, when that was measured."""
        self.round_trip_ms: int | None = None
        """Of the sample that the time is from; half of it bounds the error. ``None`` before the first."""

    @property
    def offset_ms(self) -> int:
        """The venue's time less this machine's wall clock as it is now."""
        return self.now_ms() - self._clock.wall_ms()

    def now_ms(self) -> int:
        """The venue's time in ms since the epoch."""
        if self._ahead_ms is None:
            self._ahead_ms = self._wall_ahead_ms = self._wall_ahead_now_ms()
        return self._monotonic_ms() + self._ahead_ms

    def stepped_ms(self) -> int:
        """How far the wall clock has moved against the monotonic one since the last measurement."""
        return self._wall_ahead_now_ms() - self._wall_ahead_ms

    async def measure(self, ask: Callable[[], Awaitable[int]]) -> None:
        """Take the quickest of a few round trips, unless what is known is in keeping with it, and from a quicker one.

        Raises what ``ask`` raises.
        """
        samples = []
        for _ in range(SAMPLES):
            sent_ms = self._monotonic_ms()
            server_ms = await ask()
            back_ms = self._monotonic_ms()
            samples.append((back_ms - sent_ms, server_ms - (sent_ms + back_ms) // 2))
        round_trip_ms, ahead_ms = min(samples)
        self._wall_ahead_ms = self._wall_ahead_now_ms()
        agrees = self._ahead_ms is not None and abs(self._ahead_ms - ahead_ms) <= round_trip_ms // 2
        if not agrees or self.round_trip_ms is None or round_trip_ms < self.round_trip_ms:
            self.round_trip_ms, self._ahead_ms = round_trip_ms, ahead_ms

    def _monotonic_ms(self) -> int:
        return round(self._clock.boot_s() * 1000)

    def _wall_ahead_now_ms(self) -> int:
        return self._clock.wall_ms() - self._monotonic_ms()


class ClockKeeper:
    """Has the venue's time measured again: on a schedule, soon after a new connection, and when the wall clock stepped.

    ``measure`` asks the venue through its rate gate and raises ``VenueError`` where it may not or cannot; then it is
    tried again later.
    """

    def __init__(self, clock: Clock, server: ServerClock, measure: Callable[[float], Awaitable[None]]) -> None:
        self._clock = clock
        self._server = server
        self._measure = measure
        self._wanted = False

    def want(self) -> None:
        """Measure soon: what is known may be of another server's clock."""
        self._wanted = True

    async def run(self) -> None:
        """Keep the time until cancelled; it was measured just now."""
        last_s = self._clock.monotonic()
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            now_s = self._clock.monotonic()
            early = self._wanted or abs(self._server.stepped_ms()) >= STEP_MS
            if now_s - last_s < (LEAST_BETWEEN_S if early else MEASURE_EVERY_S):
                continue
            last_s, self._wanted = now_s, False
            try:
                await self._measure(now_s)
            except VenueError:
                self._wanted = True  # what is known stays good for now, and a refused time stamp measures too
