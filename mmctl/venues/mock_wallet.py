"""The balances of the mock venue: open orders lock, fills move, ends release. Nothing is made or lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from mmctl.core.events import Balance

_ZERO = Decimal(0)


class MockWallet:
    """What one account has of each asset, free and locked; neither is ever below zero."""

    def __init__(self, free: Mapping[str, Decimal]) -> None:
        self._free = dict(free)
        self._locked = dict.fromkeys(free, _ZERO)
        self._changed: set[str] = set()

    def free(self, asset: str) -> Decimal:
        return self._free.get(asset, _ZERO)

    def lock(self, asset: str, amount: Decimal) -> None:
        """Set ``amount`` aside for an order; a negative one gives it back. The caller has checked ``free``."""
        self._move(asset, -amount, amount)

    def spend(self, asset: str, locked: Decimal, paid: Decimal) -> None:
        """Pay ``paid`` out of ``locked``; what the order did not need of it is free again."""
        self._move(asset, locked - paid, -locked)

    def receive(self, asset: str, amount: Decimal) -> None:
        self._move(asset, amount, _ZERO)

    def balances(self, assets: Iterable[str] | None = None) -> dict[str, Balance]:
        """Balances of ``assets``, of all where none are named; in the order of their names."""
        names = sorted(self._free if assets is None else assets)
        return {asset: Balance(self.free(asset), self._locked.get(asset, _ZERO)) for asset in names}

    def take_changed(self) -> frozenset[str]:
        """The assets that changed since this was last asked."""
        changed = frozenset(self._changed)
        self._changed.clear()
        return changed

    def _move(self, asset: str, free: Decimal, locked: Decimal) -> None:
        self._free[asset] = self.free(asset) + free
        self._locked[asset] = self._locked.get(asset, _ZERO) + locked
        self._changed.add(asset)
