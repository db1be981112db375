"""Where a stop or a resume acts: the accounts and symbols that a command line names, by a profile or without one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmctl.cli.options import note
from mmctl.core.order import Layer
from mmctl.errors import UsageError
from mmctl.markets import MOCK, VENUES, fold, is_live, nearest
from mmctl.profile_stop import DEFAULT_ACCOUNT, STRANGER_INTERVAL_S, StopAccount, StopPair, read_stop_profile
from mmctl.profile_words import pairs_named


@dataclass(frozen=True, slots=True)
class ScopeAsked:
    """Where, as the command line says it."""

    pairs: tuple[str, ...]
    profile: str | None
    venue: str | None
    account: str | None
    all_symbols: bool
    redis_url: str | None = None


@dataclass(frozen=True, slots=True)
class StopAsked:
    """What was asked for; ``layer`` is ``None`` for both, ``by`` is who asked where that is not this process's user."""

    layer: Layer | None
    scope: ScopeAsked
    deadline_s: float
    halt: bool
    why: str
    include_foreign: bool = False
    by: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """One account to act on: the symbols, or all (``None``), and what is known of its pairs.

    ``several`` says whether its key variables must name the account; ``None`` where no profile tells.
    """

    account: StopAccount
    symbols: tuple[str, ...] | None
    pairs: tuple[StopPair, ...] = ()
    several: bool | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(pair.name for pair in self.pairs) or self.symbols or ()

    @property
    def interval_s(self) -> float:
        """The longest interval at which an engine may still send, in seconds."""
        return max((pair.interval_s for pair in self.pairs), default=STRANGER_INTERVAL_S)


@dataclass(frozen=True, slots=True)
class Found:
    """The accounts in scope, a line for each that could not be read, and the profile's address of Redis."""

    targets: tuple[Target, ...]
    faults: tuple[str, ...] = ()
    redis_url: str | None = field(default=None, repr=False)


def targets(asked: ScopeAsked, *, mock: bool = False) -> Found:
    """The accounts in scope. ``mock`` takes those on the mock venue too. Raises ``UsageError`` where there is none."""
    if asked.venue is not None:
        return Found((_named(asked, asked.venue, mock=mock),))
    if asked.account is not None or asked.all_symbols:
        option = "--all-symbols" if asked.account is None else f"--account {asked.account}"
        raise UsageError(f"{option} goes with --venue", "a profile names its own accounts; choose by --pair")
    profile = read_stop_profile(asked.profile, environ=os.environ, cwd=Path.cwd())
    pairs = pairs_named(profile.pairs, asked.pairs, Path(profile.shown).name)
    if asked.pairs:
        used = {pair.account for pair in pairs if mock or is_live(pair.venue)}
        accounts = [profile.accounts[name] for name in profile.accounts if name in used]
    else:
        accounts = list(profile.live_accounts(mock))
    if not accounts:
        raise _nothing_live(profile.shown, profile.faults)
    found = []
    for account in accounts:
        own = tuple(pair for pair in pairs if pair.account == account.name)
        symbols = tuple(pair.symbol for pair in own) if asked.pairs else None
        found.append(Target(account, symbols, own, len(profile.accounts) > 1))
    return Found(tuple(found), profile.faults, profile.redis_url)


def tell(doing: str, chosen: Sequence[Target]) -> None:
    """Say first on which venue, account and pairs a verb acts."""
    for target in chosen:
        what = ", ".join(target.names) if target.symbols else "all symbols"
        note(f"{doing} on {target.account.venue}, account {target.account.name}: {what}")


def _nothing_live(shown: str, faults: tuple[str, ...]) -> UsageError:
    if faults:
        return UsageError(faults[0], "mend it, or stop without a profile: --venue NAME --account NAME --all-symbols")
    from mmctl.profile import profiles_with_live_venue

    names = ", ".join(profiles_with_live_venue(Path.cwd())) or "none"
    return UsageError(
        f"{shown} trades on the mock venue: nothing outside that process can be cancelled",
        f"end that process; profiles found here that have a live venue: {names}",
    )


def _named(asked: ScopeAsked, venue: str, *, mock: bool) -> Target:
    if asked.profile is not None:
        raise UsageError("--venue and --profile: only one can say where to stop", "leave one of them out")
    if venue not in VENUES:
        raise UsageError(f"--venue {venue}: mmctl knows no such venue", f"the nearest is {nearest(venue, VENUES)}")
    if venue == MOCK and not mock:
        raise UsageError("--venue mock: nothing outside its process can be cancelled", "end that process")
    if bool(asked.pairs) == asked.all_symbols:
        raise UsageError("--venue needs a scope", "give --pair SYMBOL, once or more, or --all-symbols")
    symbols = tuple(_symbol(venue, pair) for pair in asked.pairs) or None
    return Target(StopAccount(asked.account or DEFAULT_ACCOUNT, venue), symbols)


def _symbol(venue: str, pair: str) -> str:
    """A pair as ``venue`` writes it, without a profile to say so: joined, save for those that write a mark."""
    return pair.upper() if venue.startswith("okx") else fold(pair).upper()
