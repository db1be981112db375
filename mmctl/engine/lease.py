"""The lease of one pair in Redis: the right to place, among engines on hosts that share no folder.

It is measured on the clock that counts suspended time, from before each question to Redis, and given up one landing
time before it would run out: what was placed last has landed when another may have it. Whoever finds the marker of an
owner that did not release waits one lease and its landing time before it places; cancels wait for nothing.
"""

from __future__ import annotations

from urllib.parse import quote

from mmctl.engine.hold import Hold
from mmctl.ports import Clock, Ownership, Shared

LEASE_BEYOND_LANDING_S = 10.0
"""How much longer than the landing time a lease is: for so long Redis may be away before it is given up."""

RENEW_EVERY_S = 1.0
SETTLE_S = 1.0
"""How long a new owner waits that finds no marker: a flushed Redis may hide an owner, which notices by then."""

RENEWED_S = 0.3
"""By how much the end of somebody's lease must move to show that it was renewed."""


def lease_name(venue: str, owner: str, symbol: str) -> str:
    """The name of a lease: the venue, its own number of the account (else the account's name), and the symbol."""
    return ":".join(quote(part, safe="") for part in (venue, owner, symbol))


class Lease:
    """One engine's side of the lease ``name``. ``step`` is called four times a second, ``hold`` at each send."""

    def __init__(self, name: str, token: str, shared: Shared, clock: Clock, landing_time_s: float) -> None:
        self.name = name
        self._token = token
        self._shared = shared
        self._clock = clock
        self._landing_time_s = landing_time_s
        self._lease_s = landing_time_s + LEASE_BEYOND_LANDING_S
        self._until_s: float | None = None
        """The boot time until which the lease is ours, ``None`` while it is not."""
        self._renew_at_s = 0.0
        self._place_from_s = 0.0
        self._marked = False
        self._had = False
        self._wait = ""
        self._seen: tuple[str, float] | None = None
        """Whose lease was seen, and the boot time at which that would end."""
        self._unrenewed_since_s: float | None = None
        self.superseded_by = ""

    def hold(self) -> Hold | None:
        """Why nothing may be placed now, or ``None``."""
        if self.superseded_by:
            return Hold("superseded", f"{self.superseded_by} has the lease in Redis now", hands_off=True)
        now_s = self._clock.boot_s()
        if self._until_s is None:
            return Hold("lease", self._wait or f"the lease in {self._shared.where} is not had yet")
        if now_s >= self._until_s - self._landing_time_s:
            return Hold("lease", f"the lease in {self._shared.where} could not be renewed in time")
        if now_s < self._place_from_s:
            return Hold("lease", f"{self._wait}: {self._place_from_s - now_s:.0f} s left")
        return None if self._marked else Hold("lease", f"{self._shared.where} has not been told of this engine yet")

    async def step(self, now: Ownership, asked_s: float) -> None:
        """Take, renew or lose the lease, by what Redis said ``now`` when it was asked at boot time ``asked_s``.

        Raises ``SharedUnreadable``.
        """
        if self.superseded_by:
            return
        if now.token == self._token:
            await self._keep(now, asked_s)
        elif now.token is not None:
            self._see_other(now.token, asked_s + now.left_s, asked_s)
        else:
            await self._try_to_take(now, asked_s)

    async def release(self, *, settled: bool) -> None:
        """A clean end: let another have it at once. ``settled``: nothing of ours may still appear."""
        if not self.superseded_by:
            self._until_s = None
            await self._shared.release(self.name, self._token, settled=settled)

    async def _keep(self, now: Ownership, asked_s: float) -> None:
        if asked_s >= self._renew_at_s or self._until_s is None:
            if not await self._shared.renew(self.name, self._token, self._lease_s):
                self._until_s = None
                return
            self._gained(now, asked_s)
        if asked_s >= self._place_from_s and (not self._marked or now.marker != self._token):
            await self._shared.mark(self.name, self._token, self._lease_s, self._landing_time_s)
            self._marked = True

    def _see_other(self, token: str, ends_s: float, asked_s: float) -> None:
        self._until_s = None
        if self._had:
            self.superseded_by = token
            return
        if self._seen is None or self._seen[0] != token or ends_s > self._seen[1] + RENEWED_S:
            self._unrenewed_since_s = asked_s
            self._seen = (token, ends_s)
        self._wait = f"{token} has the lease in {self._shared.where}, for another {ends_s - asked_s:.0f} s at least"

    async def _try_to_take(self, now: Ownership, asked_s: float) -> None:
        self._until_s = None
        if self._had and now.marker not in (None, self._token):
            self.superseded_by = now.marker or ""  # it came and went while this engine had no lease
            return
        if self._unrenewed_since_s is None:
            self._unrenewed_since_s = asked_s
        if await self._shared.take(self.name, self._token, self._lease_s):
            self._gained(now, asked_s)

    def _gained(self, now: Ownership, asked_s: float) -> None:
        """The lease is ours from ``asked_s`` on; who gains it for the first time may have to wait."""
        self._until_s, self._renew_at_s = asked_s + self._lease_s, asked_s + RENEW_EVERY_S
        if self._had:
            return
        self._had = True
        if now.marker is None:
            self._wait = f"nobody else may have the lease in {self._shared.where}"
            self._place_from_s = asked_s + SETTLE_S
        elif now.marker != self._token:
            self._wait = f"{now.marker} quoted here last and did not release its lease"
            since_s = asked_s if self._unrenewed_since_s is None else self._unrenewed_since_s
            self._place_from_s = since_s + now.lease_s + now.landing_time_s


async def look_for_owner(shared: Shared, clock: Clock, names: list[str]) -> str:
    """Who has one of the leases now and renews it, so lives; empty where nobody does. Raises ``SharedUnreadable``."""
    first = await shared.owners(names)
    if all(one.token is None for one in first):
        return ""
    asked_s = clock.boot_s()
    await clock.sleep(RENEW_EVERY_S + 2 * RENEWED_S)
    passed_s = clock.boot_s() - asked_s
    for before, after in zip(first, await shared.owners(names), strict=True):
        if after.token is not None and (before.token != after.token or after.left_s > before.left_s - passed_s / 2):
            return after.token
    return ""
