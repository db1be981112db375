"""What hosts share, in this process and by a clock of its own, for tests under virtual time; it can be away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from mmctl.errors import SharedAway
from mmctl.ports import Halt, Ownership, SharedHalts


def now_s() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class FakeServer:
    """The one server that all adapters of a test speak with."""

    halts: dict[str, Halt] = field(default_factory=dict)
    lifted: dict[str, tuple[str, int]] = field(default_factory=dict)
    rubbish: tuple[str, ...] = ()
    records: dict[tuple[str, str, int], bytes] = field(default_factory=dict)
    epochs: dict[tuple[str, str], int] = field(default_factory=dict)
    leases: dict[str, tuple[str, float]] = field(default_factory=dict)
    markers: dict[str, tuple[str, float, float]] = field(default_factory=dict)
    stops: dict[tuple[str, str, str], float] = field(default_factory=dict)
    changes: int = 0

    def flush(self) -> None:
        for kept in (self.halts, self.lifted, self.records, self.epochs, self.leases, self.markers):
            kept.clear()


class FakeShared:
    """``mmctl.ports.Shared`` on a ``FakeServer``; ``away`` fails all, ``lost_replies`` does it first."""

    where = "the shared store"

    def __init__(self, server: FakeServer) -> None:
        self.server = server
        self.away = False
        self.lost_replies = False
        self.closed = False

    def _here(self) -> None:
        if self.away:
            raise SharedAway(f"{self.where} cannot be asked")

    def _reply(self) -> None:
        if self.lost_replies:
            raise SharedAway(f"{self.where} did not answer")

    async def halts(self) -> SharedHalts:
        self._here()
        return SharedHalts(dict(self.server.halts), dict(self.server.lifted), self.server.rubbish)

    async def set(self, halts: Sequence[Halt]) -> None:
        self._here()
        for halt in halts:
            self.server.halts.setdefault(halt.uid, halt)
        self.server.changes += 1
        self._reply()

    async def lift(self, uids: Sequence[str], *, by: str, at_ms: int) -> None:
        self._here()
        self.server.lifted.update(dict.fromkeys(uids, (by, at_ms)))
        self.server.rubbish = ()
        self.server.changes += 1
        self._reply()

    async def changed(self) -> None:
        self._here()
        seen = self.server.changes
        for _ in range(100):
            await asyncio.sleep(0.05)
            if self.server.changes != seen:
                return

    async def put(self, venue: str, account: str, epoch: int, record: bytes, *, ended: bool = False) -> None:
        self._here()
        self.server.records[venue, account, epoch] = record

    async def engines(self, venue: str, account: str) -> list[bytes]:
        self._here()
        return [data for key, data in sorted(self.server.records.items()) if key[:2] == (venue, account)]

    async def accounts(self) -> list[tuple[str, str]]:
        self._here()
        return sorted({key[:2] for key in self.server.records})

    async def reserve_epoch(self, venue: str, owner: str, floor: int) -> int:
        self._here()
        self.server.epochs[venue, owner] = 1 + max(floor, self.server.epochs.get((venue, owner), 0))
        return self.server.epochs[venue, owner]

    async def owners(self, names: Sequence[str]) -> list[Ownership]:
        self._here()
        return [self._owner(name) for name in names]

    def _owner(self, name: str) -> Ownership:
        token, until_s = self.server.leases.get(name, (None, 0.0))
        left_s = until_s - now_s()
        if left_s <= 0:
            token, left_s = None, 0.0
        marker = self.server.markers.get(name)
        return Ownership(token, left_s) if marker is None else Ownership(token, left_s, *marker)

    async def take(self, name: str, token: str, lease_s: float) -> bool:
        self._here()
        free = self._owner(name).token is None
        if free:
            self.server.leases[name] = (token, now_s() + lease_s)
        self._reply()
        return free

    async def renew(self, name: str, token: str, lease_s: float) -> bool:
        self._here()
        if self._owner(name).token != token:
            return False
        self.server.leases[name] = (token, now_s() + lease_s)
        self._reply()
        return True

    async def mark(self, name: str, token: str, lease_s: float, landing_time_s: float) -> None:
        self._here()
        self.server.markers[name] = (token, lease_s, landing_time_s)
        self._reply()

    async def release(self, name: str, token: str, *, settled: bool) -> None:
        self._here()
        now = self._owner(name)
        if now.token == token:
            del self.server.leases[name]
            if settled and now.marker == token:
                del self.server.markers[name]

    async def mark_stop(self, venue: str, account: str, name: str, keep_s: float) -> None:
        self._here()
        self.server.stops[venue, account, name] = now_s() + keep_s

    async def stops(self, venue: str, account: str) -> list[str]:
        self._here()
        found = self.server.stops.items()
        return sorted(key[2] for key, until_s in found if key[:2] == (venue, account) and until_s > now_s())

    async def close(self) -> None:
        self.closed = True
