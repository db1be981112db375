"""A TOML profile: its tables become pairs, with ``[defaults]`` merged into each.

A ladder is on where it has a table, in the pair or in ``[defaults]``, and off otherwise; ``far = false``
in a pair switches off one that ``[defaults]`` gives. A message names the table that a value stands in.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path

from mmctl.core.order import Layer
from mmctl.errors import UsageError
from mmctl.markets import MOCK, is_live, split_symbol
from mmctl.profile_check import Table, shown
from mmctl.profile_model import DEFAULT_ACCOUNT, AccountModel, LayerModel, ProfileModel
from mmctl.profile_spec import (
    AccountSpec,
    MadePair,
    PairTables,
    Profile,
    check_clashes,
    make_pair,
    mock_spec,
    redis_spec,
)
from mmctl.profile_words import one_line
from mmctl.settings import key_prefix

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_PAIR = re.compile(r"[A-Z0-9]{1,20}-[A-Z0-9]{1,20}")


def parse_toml(text: str, path: Path, shown_path: str) -> Profile:
    """The profile in ``text``. Raises ``UsageError`` for the first mistake; ``shown_path`` names the file."""
    raw = _toml(text, shown_path)
    top = _table(raw, shown_path, "").read(ProfileModel)
    if not top.pairs:
        raise UsageError(f"{shown_path}: pairs: there is no pair", "write a table [pairs.BASE-QUOTE] for each")
    accounts = _accounts(top.accounts, shown_path)
    # A pair that names no account has the only one, or main.
    account = next(iter(accounts)) if len(accounts) == 1 else DEFAULT_ACCOUNT
    made = [
        make_pair(_pair_tables(name, values, top.defaults, shown_path), accounts, account)
        for name, values in top.pairs.items()
    ]
    check_clashes(made)
    return Profile(
        path=path,
        feed=top.feed,
        pairs=tuple(pair.spec for pair in made),
        accounts=accounts,
        redis=redis_spec(_table(top.redis, shown_path, "redis")),
        mock=mock_spec(_table(top.mock, shown_path, "mock"), made),
        warnings=(*_feed_warnings(top.feed, made, shown_path), *(text for pair in made for text in pair.warnings)),
    )


def _toml(text: str, shown_path: str) -> dict[str, object]:
    try:
        return tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        said = str(error).replace("at end of document", f"at the end, line {text.count(chr(10)) + 1}")
        raise UsageError(one_line(f"{shown_path}: not TOML: {said}"), "mend that line") from None
    except (ValueError, ArithmeticError):
        raise UsageError(f"{shown_path}: not TOML: a number has too many digits", "write it in full, shorter") from None
    except RecursionError:
        raise UsageError(f"{shown_path}: not TOML: lists within lists without end", "mend its brackets") from None


def _table(values: Mapping[str, object], shown_path: str, place: str) -> Table:
    return Table(values, lambda field: f"{shown_path}: {f'{place}.' if place else ''}{field}")


def _accounts(tables: Mapping[str, Mapping[str, object]], shown_path: str) -> dict[str, AccountSpec]:
    accounts: dict[str, AccountSpec] = {}
    prefixes: dict[str, str] = {}
    for name, values in (tables or {DEFAULT_ACCOUNT: {"venue": MOCK}}).items():
        table = _table(values, shown_path, f"accounts.{name}")
        if not _NAME.fullmatch(name):
            raise _table({}, shown_path, "accounts").wrong(name, "is no name", "letters, digits, - and _, at most 32")
        accounts[name] = AccountSpec(name=name, **table.read(AccountModel).model_dump())
        prefix = key_prefix(accounts[name].venue, name, several_accounts=True)
        if prefix in prefixes:
            said = f"its keys would be read from {prefix}*, as those of {prefixes[prefix]} are"
            raise _table({}, shown_path, "accounts").wrong(name, said, "give one of them another name")
        prefixes[prefix] = name
    return accounts


def _pair_tables(
    name: str, values: Mapping[str, object], defaults: Mapping[str, object], shown_path: str
) -> PairTables:
    if not _PAIR.fullmatch(name):
        split = split_symbol(name)
        mend = f"write {'-'.join(split)}" if split else "BASE-QUOTE in capitals, such as BTC-USDT"
        raise _table({}, shown_path, "pairs").wrong(name, "is not the name of a pair", mend)
    base, quote = name.split("-")
    merged = {**defaults, **values}
    place = _places(f"pairs.{name}", values, "defaults", defaults, shown_path)
    near, far = (_ladder(which, name, values, defaults, shown_path) for which in Layer)
    table = Table({key: value for key, value in merged.items() if key not in tuple(Layer)}, place)
    for key in table.values:
        if key in LayerModel.model_fields:
            raise table.wrong(key, "unknown key", f"it belongs in a ladder: [pairs.{name}.near] or [pairs.{name}.far]")
    if near is None and far is None:
        raise table.wrong("near", "both ladders are off", f"write a table [pairs.{name}.near] or [defaults.near]")
    return PairTables(name, base, quote, table, near, far)


def _ladder(
    which: Layer, name: str, pair: Mapping[str, object], defaults: Mapping[str, object], shown_path: str
) -> Table | None:
    """The table of a ladder, merged; ``None`` where it is off."""
    own, shared = pair.get(which), defaults.get(which)
    for stands_in, value in ((f"pairs.{name}", own), ("defaults", shared)):
        if value is not None and value is not False and not isinstance(value, dict):
            said = f"{shown(value)} is not a table"
            raise _table({}, shown_path, stands_in).wrong(which, said, f"{which} = false switches the ladder off")
    if own is False or not (isinstance(own, dict) or isinstance(shared, dict)):
        return None
    own, shared = (value if isinstance(value, dict) else {} for value in (own, shared))
    place = _places(f"pairs.{name}.{which}", own, f"defaults.{which}", shared, shown_path)
    table = Table({**shared, **own}, place)
    if table.values.get("interval_s") == 0:
        raise table.wrong("interval_s", "0 is out of bounds", f"{which} = false in the pair switches the ladder off")
    return table


def _places(
    own_place: str, own: Mapping[str, object], shared_place: str, shared: Mapping[str, object], shown_path: str
) -> Callable[[str], str]:
    """How to name a field of a merged table: by the table that it stands in."""

    def name(field: str) -> str:
        key = field.partition(".")[0]
        place = shared_place if key in shared and key not in own else own_place
        return f"{shown_path}: {place}.{field}"

    return name


def _feed_warnings(feed: str, made: list[MadePair], shown_path: str) -> list[str]:
    live = sorted({pair.spec.venue for pair in made if is_live(pair.spec.venue)})
    if feed != MOCK or not live:
        return []
    return [f"{shown_path}: feed: the mock feed's books are made up, and {', '.join(live)} is a live venue"]
