"""What a stop takes of a profile: its accounts, and of each pair the account, the symbol and the intervals.

Read by hand, without pydantic, which is slow to import, and without judging the rest: a mistake elsewhere in the file
must not keep anybody from stopping. What cannot be read of what is needed here is passed over and told.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from mmctl.errors import UsageError
from mmctl.markets import MOCK, ORIGINAL_VENUES, VENUES, is_live, nearest, split_symbol
from mmctl.profile_find import find_profile, read_profile
from mmctl.profile_words import one_line

WITHOUT_PROFILE = "or stop without a profile: --venue NAME --account NAME --all-symbols"
DEFAULT_ACCOUNT = "main"
STRANGER_INTERVAL_S = 30.0
"""The interval that an engine is taken to have of which nothing is known; the standard one of far."""

_Table = Mapping[str, Any]  # as it was decoded, and nobody has judged it


@dataclass(frozen=True, slots=True)
class StopAccount:
    """One account: ``exclusive`` as in a profile, addresses and keys where the file states them."""

    name: str
    venue: str
    exclusive: bool = False
    rest_url: str | None = None
    ws_url: str | None = None
    stream_url: str | None = None
    keys: tuple[str, str] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class StopPair:
    """One pair; ``interval_s`` is the longest at which an engine may still send for it."""

    name: str
    base: str
    symbol: str
    venue: str
    account: str
    interval_s: float


@dataclass(frozen=True, slots=True)
class StopProfile:
    """What was read. ``faults`` has a line for each account that could not be; ``astray`` says that there is a pair
    of which the account is not known. ``redis_url`` is as it stands there, right or wrong, and may hold a password."""

    shown: str
    accounts: Mapping[str, StopAccount]
    pairs: tuple[StopPair, ...]
    faults: tuple[str, ...]
    astray: bool = False
    redis_url: str | None = field(default=None, repr=False)

    def live_accounts(self, mock: bool = False) -> tuple[StopAccount, ...]:
        """The accounts that have pairs; where a pair is astray or none was read, all. ``mock``: those on it too."""
        used = {pair.account for pair in self.pairs}
        every = self.astray or not self.pairs
        return tuple(
            account
            for account in self.accounts.values()
            if (mock or is_live(account.venue)) and (every or account.name in used)
        )


def read_stop_profile(name_or_path: str | None, *, environ: Mapping[str, str], cwd: Path) -> StopProfile:
    """The profile asked for, else ``MMCTL_PROFILE``, else ``default``, as far as a stop needs it.

    Raises ``UsageError`` where there is none, where it is no TOML or JSON at all, or where no account can be read.
    """
    try:
        path = find_profile(name_or_path, environ=environ, cwd=cwd)
        shown = one_line(str(path.relative_to(cwd) if path.is_relative_to(cwd) else path))
        text = read_profile(path, shown)
        read = _original(text, shown) if path.suffix.lower() == ".json" else _toml(text, shown)
    except UsageError as error:
        hint = f"{error.hint}; {WITHOUT_PROFILE}" if error.hint else WITHOUT_PROFILE
        raise UsageError(error.message, hint) from None
    if not read.accounts:
        raise UsageError("; ".join(read.faults) or f"{shown}: no account can be read", WITHOUT_PROFILE)
    return read


def _toml(text: str, shown: str) -> StopProfile:
    try:
        raw = tomllib.loads(text)
    except (ValueError, ArithmeticError, RecursionError) as error:
        said = str(error) if isinstance(error, tomllib.TOMLDecodeError) else type(error).__name__
        raise UsageError(one_line(f"{shown}: not TOML: {said}"), "mend that line") from None
    faults: list[str] = []
    accounts: dict[str, StopAccount] = {}
    tables = _tables(raw.get("accounts"))
    for name, values in tables.items():
        venue = values.get("venue")
        if isinstance(venue, str) and venue in VENUES:
            accounts[name] = _account(name, venue, values)
        else:
            known = f", the nearest is {nearest(venue, VENUES)}" if isinstance(venue, str) else ""
            faults.append(one_line(f"{shown}: accounts.{name}.venue: {venue!r} is no venue{known}"))
    if not tables:
        accounts[DEFAULT_ACCOUNT] = StopAccount(DEFAULT_ACCOUNT, MOCK)
    usual = next(iter(tables)) if len(tables) == 1 else DEFAULT_ACCOUNT
    shared = raw.get("defaults")
    defaults: _Table = shared if isinstance(shared, dict) else {}
    pairs: list[StopPair] = []
    astray = False
    for name, values in _tables(raw.get("pairs")).items():
        named = values.get("account", defaults.get("account", usual))
        account = accounts.get(named) if isinstance(named, str) else None
        if account is not None:
            pairs.append(_pair(name, values, defaults, account))
        elif not (isinstance(named, str) and named in tables):  # else that account is a fault of its own
            astray = True
    redis = raw.get("redis")
    redis_url = _word(redis.get("url")) if isinstance(redis, dict) else None
    return StopProfile(shown, accounts, tuple(pairs), tuple(faults), astray, redis_url)


def _tables(value: object) -> dict[str, _Table]:
    """The tables in a table; what is none counts as an empty one, for its name says something too."""
    if not isinstance(value, dict):
        return {}
    return {str(name): table if isinstance(table, dict) else {} for name, table in value.items()}


def _account(name: str, venue: str, values: _Table) -> StopAccount:
    rest, ws, stream = (_word(values.get(key)) for key in ("rest_url", "ws_url", "stream_url"))
    return StopAccount(name, venue, values.get("exclusive") is True, rest, ws, stream)


def _pair(name: str, values: _Table, defaults: _Table, account: StopAccount) -> StopPair:
    base = name.partition("-")[0]
    symbol = _word(values.get("symbol")) or name.replace("-", "")
    longest_s = max(_interval_s(values.get(layer), defaults.get(layer)) for layer in ("near", "far"))
    return StopPair(name, base, symbol, account.venue, account.name, longest_s)


def _interval_s(own: object, shared: object) -> float:
    """A ladder's interval; 0 where it is off, the one of a stranger where it cannot be read."""
    if own is False or (own is None and shared in (None, False)):
        return 0.0
    for table in (own, shared):
        if isinstance(table, dict) and "interval_s" in table:
            return _seconds(table["interval_s"])
    return STRANGER_INTERVAL_S


def _seconds(value: object) -> float:
    try:
        seconds = Decimal(str(value))
    except InvalidOperation:
        return STRANGER_INTERVAL_S
    return float(seconds) if seconds.is_finite() and 0 <= seconds <= 86_400 else STRANGER_INTERVAL_S


def _word(value: object) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def _original(text: str, shown: str) -> StopProfile:
    """The original's parameter file; its accounts are numbered as the loader of profiles does it."""
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f" (at line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise UsageError(f"{shown}: not JSON{where}", "mend it") from None
    faults: list[str] = []
    names: dict[tuple[str, ...], str] = {}
    accounts: dict[str, StopAccount] = {}
    pairs: list[StopPair] = []
    for number, entry in enumerate(raw if isinstance(raw, list) else [], 1):
        values: _Table = entry if isinstance(entry, dict) else {}
        word, symbol = _word(values.get("Maker Exchange")), _word(values.get("Maker Symbol"))
        venue = ORIGINAL_VENUES.get(word or "")
        if venue is None or symbol is None:
            faults.append(f"{shown}: entry {number}: its venue or symbol cannot be read")
            continue
        key, secret, phrase = (_word(values.get(name)) or "" for name in ("API KEY", "Secret", "Passphrase"))
        identity = (venue.name, key, secret, phrase)
        name = names.setdefault(identity, f"account-{len(names) + 1}" if names else DEFAULT_ACCOUNT)
        accounts[name] = StopAccount(name, venue.name, keys=(key, secret) if key and secret else None)
        followed = _word(values.get("Follow Symbol")) or symbol
        base, quote = split_symbol(followed) or (followed.upper(), "")
        intervals = [_seconds(values.get(f"{layer} Interval")) for layer in ("Near", "Far")]
        pair = f"{base}-{quote}" if quote else base
        pairs.append(StopPair(pair, base, symbol, venue.name, name, max(intervals)))
    return StopProfile(shown, accounts, tuple(pairs), tuple(faults))
