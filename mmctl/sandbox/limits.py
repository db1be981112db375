"""Rate limits as the live venue counts them: request weight by address, unfilled orders by account.

Windows are fixed: one of ten seconds starts at every full ten seconds. Who goes over a limit gets 429 until
the window ends; who goes on asking all the same is banned with 418, each time for longer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from mmctl.errors import UsageError
from mmctl.sandbox.accounts import Account
from mmctl.sandbox.refusals import Refusal, banned, too_many_orders, too_much_weight

INTERVAL_MS = {"SECOND": 1000, "MINUTE": 60_000, "HOUR": 3_600_000, "DAY": 86_400_000}
PATIENCE = 20
"""Requests after a 429 that are still answered with 429."""
ON_THEIR_WAY_S = 0.1
"""What comes so soon after it was sent before anybody could know."""
FIRST_BAN_MS = 120_000


class LimitRule(msgspec.Struct, frozen=True, rename="camel"):
    """One limit, in the shape of ``exchangeInfo``."""

    rate_limit_type: str
    interval: str
    interval_num: int
    limit: int

    @property
    def length_ms(self) -> int:
        return INTERVAL_MS[self.interval] * self.interval_num

    @property
    def suffix(self) -> str:
        """As in the names of headers: ``10S``."""
        return f"{self.interval_num}{self.interval[0]}"

    @property
    def words(self) -> str:
        return f"{self.interval_num} {self.interval}"


BINANCE = (
    LimitRule("REQUEST_WEIGHT", "MINUTE", 1, 6000),
    LimitRule("ORDERS", "SECOND", 10, 100),
    LimitRule("ORDERS", "DAY", 1, 200_000),
    LimitRule("RAW_REQUESTS", "MINUTE", 5, 61_000),
)


def limit_rules(given: str) -> tuple[LimitRule, ...]:
    """The limits of ``binance``, ``off`` or a JSON file with an array like ``rateLimits`` of ``exchangeInfo``."""
    if given == "binance":
        return BINANCE
    if given == "off":
        return ()
    try:
        rules = msgspec.json.decode(Path(given).read_bytes(), type=tuple[LimitRule, ...])
    except OSError as error:
        raise UsageError(f"--limits {given}: {error.strerror}", "binance, off or a JSON file") from None
    except msgspec.DecodeError as error:
        raise UsageError(f"--limits {given}: {error}", "an array like rateLimits of exchangeInfo") from None
    for rule in rules:
        known = rule.rate_limit_type in ("REQUEST_WEIGHT", "ORDERS", "RAW_REQUESTS")
        if not known or rule.interval not in INTERVAL_MS or rule.interval_num < 1 or rule.limit < 1:
            raise UsageError(f"--limits {given}: {rule} is no limit", "an array like rateLimits of exchangeInfo")
    return rules


@dataclass(slots=True)
class Window:
    """A count within the present window of one rule."""

    rule: LimitRule
    index: int = -1
    count: int = 0

    def at(self, now_ms: int) -> int:
        """The count of the window of ``now_ms``."""
        index = now_ms // self.rule.length_ms
        if index != self.index:
            self.index, self.count = index, 0
        return self.count

    def ends_ms(self) -> int:
        return (self.index + 1) * self.rule.length_ms

    def shown(self, now_ms: int) -> dict[str, object]:
        rule = self.rule
        return {
            "rateLimitType": rule.rate_limit_type,
            "interval": rule.interval,
            "intervalNum": rule.interval_num,
            "limit": rule.limit,
            "count": self.at(now_ms),
        }


@dataclass(slots=True)
class Limits:
    """All counts. ``disobeyed`` counts requests that came before the time that a 429 or a 418 had named, and
    ``disobeyed_late_ms`` is how long after that answer the latest came, by what it asked for: what was on its way by
    then is no fault."""

    rules: tuple[LimitRule, ...]
    disobeyed: int = 0
    disobeyed_late_ms: dict[str, int] = field(default_factory=dict)
    exceeded: int = 0
    monotonic: Callable[[], float] = time.monotonic
    _by_address: list[Window] = field(default_factory=list)
    _by_account: dict[str, list[Window]] = field(default_factory=dict)
    _blocked: Refusal | None = None
    _blocked_at_s: float = 0.0
    _blocked_until_ms: int = 0
    _refused: int = 0
    _bans: int = 0

    def __post_init__(self) -> None:
        self._by_address = [Window(rule) for rule in self.rules if rule.rate_limit_type != "ORDERS"]

    def use(self, weight: int, now_ms: int, what: str = "") -> None:
        """Count one request for ``what``. Raises ``Refusal``."""
        if self._blocked is not None:
            self._check_block(now_ms, what)
        for window in self._by_address:
            window.at(now_ms)
            window.count += weight if window.rule.rate_limit_type == "REQUEST_WEIGHT" else 1
            if window.count > window.rule.limit:
                self.exceeded += 1
                self.block(429, window.ends_ms(), window.rule)
                raise self._blocked or AssertionError

    def block(self, status: int, until_ms: int, rule: LimitRule = BINANCE[0]) -> Refusal:
        """Refuse everything until then with 429 or 418."""
        self._blocked_until_ms, self._refused = until_ms, 0
        self._blocked_at_s = self.monotonic()
        self._blocked = banned(until_ms) if status == 418 else too_much_weight(rule.limit, rule.words, until_ms)
        return self._blocked

    def _check_block(self, now_ms: int, what: str) -> None:
        if now_ms >= self._blocked_until_ms:
            self._blocked = None
            return
        assert self._blocked is not None
        self.disobeyed += 1
        late_s = self.monotonic() - self._blocked_at_s
        self.disobeyed_late_ms[what] = max(self.disobeyed_late_ms.get(what, 0), int(late_s * 1000))
        self._refused += late_s > ON_THEIR_WAY_S
        if self._blocked.status == 429 and self._refused > PATIENCE:
            self.block(418, now_ms + FIRST_BAN_MS * 2**self._bans)
            self._bans = min(self._bans + 1, 10)
        raise self._blocked

    def use_order(self, account: Account, now_ms: int) -> None:
        """Count one placement before it is tried. Raises ``Refusal``."""
        for window in self._of(account):
            if window.at(now_ms) >= window.rule.limit:
                self.exceeded += 1
                raise too_many_orders(window.rule.limit, window.rule.words, window.ends_ms())
        for window in self._of(account):
            window.count += 1

    def on_first_fill(self, account: Account, now_ms: int) -> None:
        """An order that trades for the first time, whenever it was placed, makes the present counts smaller by one."""
        for window in self._of(account):
            if window.at(now_ms):
                window.count -= 1

    def _of(self, account: Account) -> list[Window]:
        windows = self._by_account.get(account.name)
        if windows is None:
            windows = [Window(rule) for rule in self.rules if rule.rate_limit_type == "ORDERS"]
            self._by_account[account.name] = windows
        return windows

    def info(self) -> list[LimitRule]:
        """``rateLimits`` of ``exchangeInfo``."""
        return list(self.rules)

    def orders(self, account: Account, now_ms: int) -> list[dict[str, object]]:
        return [window.shown(now_ms) for window in self._of(account)]

    def shown(self, account: Account | None, now_ms: int) -> list[dict[str, object]]:
        """``rateLimits`` of a reply of the WebSocket API; ``account`` where it was a placement."""
        weights = [one.shown(now_ms) for one in self._by_address if one.rule.rate_limit_type == "REQUEST_WEIGHT"]
        return [*self.orders(account, now_ms), *weights] if account is not None else weights

    def headers(self, account: Account | None, now_ms: int) -> Mapping[str, str]:
        """Headers of a REST reply; ``account`` where it was a placement."""
        return dict(self._headers(account, now_ms))

    def _headers(self, account: Account | None, now_ms: int) -> Iterable[tuple[str, str]]:
        for window in self._by_address:
            if window.rule.rate_limit_type == "REQUEST_WEIGHT":
                yield f"X-MBX-USED-WEIGHT-{window.rule.suffix}", str(window.at(now_ms))
                yield "X-MBX-USED-WEIGHT", str(window.at(now_ms))
        for window in self._of(account) if account is not None else ():
            yield f"X-MBX-ORDER-COUNT-{window.rule.suffix}", str(window.at(now_ms))
