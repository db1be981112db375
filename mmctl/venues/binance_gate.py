"""The account's rate budget in use: what may leave now, and until when nothing may.

Quoting uses at most 80% of each limit, so that cancels, and a stop from another process, always find room. What is read
for another reason (a stop lists the venue again and again) uses at most 90%: the rest is for cancels, of every process
at this address. Once the venue says 429 or 418, nothing leaves before the time that it names; after a limit on orders
alone, cancels still may. What was held meanwhile, cancels, leaves first when that ends.
"""

from __future__ import annotations

from collections.abc import Callable

from mmctl.ports import Clock
from mmctl.venues.binance_clock import ServerClock
from mmctl.wire.binance import TIME, Call, Reply
from mmctl.wire.binance_errors import ORDER_COUNT_CODE, Verdict, ban_ends_ms, judge
from mmctl.wire.binance_limits import Limit, RateLedger, Ticket

QUOTING_SHARE = 0.8
"""How much of each limit placements, and what is read while this process quotes, may use."""

READING_SHARE = 0.9
"""How much of each limit all but cancels may use."""

REPEATING_SHARE = 0.95
"""How much of each limit cancels may use that were sent before: those that never were need the rest."""

HOLD_UNSTATED_S = 60.0
"""How long to hold where a 429 names no time: the longest interval in which weight is counted."""

HOLD_MARGIN_S = 0.2
"""How much longer than the venue asked: its clock is known to a round trip only."""

ROOM_AGAIN_S = 0.5
"""How soon to look again whether the budget has room."""

CANCELS_FIRST_S = 0.02
"""How soon to look again whether cancels that were held have left."""

FORBIDDEN_HOLD_S = 60.0
"""How long no placement leaves after a 403 of the venue's firewall, which names no time."""


class RateGate:
    """One account's way out. Everything that is sent is counted here first.

    What the venue wants waited for is measured on a clock that goes on while this machine is suspended, as the venue's
    does: cancels must not wait for a ban that is long over.
    """

    def __init__(self, clock: Clock, server: ServerClock) -> None:
        self._clock = clock
        self._server = server
        self.ledger = RateLedger()
        self._all_until_s = -1.0
        self._places_until_s = -1.0
        self._why = ""
        self.cancels_wait: Callable[[], bool] = lambda: False
        """Whether cancels that were held have still not left: all else lets them go first."""

    def held_s(self, *, placing: bool) -> float:
        """Seconds until the venue may be asked again (for placements: ``placing``); 0 where it may be now."""
        until_s = max(self._all_until_s, self._places_until_s) if placing else self._all_until_s
        return max(0.0, until_s - self._clock.boot_s())

    def refusal(self, call: Call, *, quoting: bool, again: bool = False) -> str | None:
        """Why ``call`` may not leave now, in words, or ``None``. ``again``: the same was sent before."""
        held_s = self.held_s(placing=call.orders > 0)
        if held_s:
            return f"{self._why}; held for another {held_s:.1f} s"
        if not call.ends and self.cancels_wait():
            return f"{self._why}; cancels go first"
        share = QUOTING_SHARE if quoting else READING_SHARE
        if call.ends or call is TIME:  # a cancel that is refused for its time stamp needs the venue's time
            share = REPEATING_SHARE if again else 1.0
        lacking = self.ledger.lacking(call.weight, call.orders, self._server.now_ms(), share=share)
        if lacking is None:
            return None
        part = f"{share:.0%} of " if share < 1 else ""
        return f"the budget is used up: {part}{lacking.limit} {lacking}"

    def take(self, call: Call) -> Ticket:
        """Count ``call``, which leaves now."""
        return self.ledger.take(call.weight, call.orders, self._server.now_ms())

    def wait_s(self, weight: int) -> float:
        """Seconds until something that nobody can refuse to wait for may leave: a connection, a sign of life."""
        held_s = self.held_s(placing=False)
        if not held_s and self.cancels_wait():
            return CANCELS_FIRST_S
        if held_s or self.ledger.lacking(weight, 0, self._server.now_ms(), share=READING_SHARE) is None:
            return held_s
        return ROOM_AGAIN_S

    def spend(self, weight: int) -> None:
        """Count what leaves after ``wait_s`` and is not answered with counters."""
        self.ledger.lose(self.ledger.take(weight, 0, self._server.now_ms()), self._server.now_ms())

    def lose(self, ticket: Ticket) -> None:
        """No reply will come to that."""
        self.ledger.lose(ticket, self._server.now_ms())

    def settle(self, ticket: Ticket, reply: Reply) -> None:
        """Take in a reply: its counters, and what it says of when to ask again."""
        self.ledger.settle(ticket, reply.told, self._server.now_ms())
        self.heed(reply)

    def heed(self, reply: Reply) -> None:
        """Take in what a reply says of when to ask again, whatever it answers."""
        code, text = (reply.fault.code, reply.fault.msg) if reply.fault else (None, "")
        now_s = self._clock.boot_s()
        if reply.status == 403 and code is None:
            self._places_until_s = max(self._places_until_s, now_s + FORBIDDEN_HOLD_S)
            self._why = "the venue's firewall forbade a request (403)"
        if reply.ok or judge(reply.status, code, text).verdict is not Verdict.LATER:
            return
        until_ms = reply.retry_after_ms or ban_ends_ms(text)
        at_ms = self._server.now_ms() if reply.at_ms is None else reply.at_ms
        wait_s = HOLD_UNSTATED_S if until_ms is None else max(0.0, (until_ms - at_ms) / 1000)
        wait_s += HOLD_MARGIN_S
        if code == ORDER_COUNT_CODE:
            self._places_until_s = max(self._places_until_s, now_s + wait_s)
        else:
            self._all_until_s = max(self._all_until_s, now_s + wait_s)
        self._why = f"the venue said {reply.status}: {text or 'too many requests'}"

    def used(self) -> dict[Limit, int]:
        """What is used of each limit now."""
        return self.ledger.used(self._server.now_ms())
