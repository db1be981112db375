"""The original's parameter file: a JSON list with one object per maker pair, read as it is.

The same models as a TOML profile's check its values, so bounds and defaults are stated once; every
message names the original's own key. What the file cannot say (collar, tolerance, ...) has mmctl's default.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from pydantic import SecretStr

from mmctl.core.instrument import plain
from mmctl.core.order import Layer
from mmctl.errors import UsageError
from mmctl.markets import ORIGINAL_EXCHANGES, ORIGINAL_VENUES, KnownVenue, nearest, split_symbol
from mmctl.profile_check import Table, shown
from mmctl.profile_model import DEFAULT_ACCOUNT
from mmctl.profile_spec import AccountSpec, PairTables, Profile, check_clashes, make_pair, mock_spec, redis_spec
from mmctl.profile_words import one_line
from mmctl.settings import Credentials

_MARGINS = {"buy_margin_bps": "Buy Price Margin", "sell_margin_bps": "Sell Price Margin"}
_LAYER_NUMBERS = {
    "interval_s": "Interval",
    "quote_timeout_s": "Quote Timeout",
    **_MARGINS,
    "qty_multiplier": "Qty Multiplier",
    "ask_levels": "Ask Size",
    "bid_levels": "Bid Size",
    "max_amount": "Max Amt Per Order",
    "min_qty": "Min Qty",
    "min_amount": "Min Amt",
    "diff_per_round_bps": "Diff Per Round",
}
_LAYER_WORDS = {"side": "Side", "time_in_force": "TIF", "strategy": "Strategy"}
_FORCE_REFRESH = {"force_refresh_num": "Force Refresh Num"}
_PAIR_NUMBERS = {"price_decimals": "Maker Price Decimals", "qty_decimals": "Maker Qty Decimals"}
_PAIR_WORDS = {"symbol": "Maker Symbol", "follow_symbol": "Follow Symbol"}
_PAIR_PLACES = {**_PAIR_NUMBERS, **_PAIR_WORDS, "follow_exchange": "Follow Exchange", "account": "API KEY"}

_SIGN = (
    "a margin moves quotes outward here, bids down and asks up, and is at least 0; the original moves bids up by "
    "a positive one: if {} basis points outward are meant, write that"
)
_OPTIONAL = ("API KEY", "Secret", "Passphrase", "Position Side")


def _layer_keys(which: Layer) -> dict[str, str]:
    """The original's keys of a ladder, by mmctl's field."""
    return {field: f"{which.capitalize()} {key}" for field, key in (_LAYER_NUMBERS | _LAYER_WORDS).items()}


_REQUIRED = (
    *("Maker Exchange", "Follow Exchange", "Follow Symbol", "Maker Symbol", "Term type"),
    *_PAIR_NUMBERS.values(),
    *(key for which in Layer for key in _layer_keys(which).values()),
    *_FORCE_REFRESH.values(),
)
KEYS = (*_REQUIRED, *_OPTIONAL)


def parse_original(text: str, path: Path, shown_path: str) -> Profile:
    """The profile in ``text``. Raises ``UsageError`` for the first mistake; ``shown_path`` names the file."""
    entries = [_Entry.of(number, item, shown_path) for number, item in enumerate(_objects(text, shown_path), 1)]
    warnings = [warning for entry in entries for warning in entry.unknown_keys()]
    accounts: dict[str, AccountSpec] = {}
    names: dict[tuple[str, ...], str] = {}
    made = []
    for entry in entries:
        entry.check_keys()
        account = entry.account(names)
        accounts.setdefault(account.name, account)
        pair = make_pair(entry.tables(), accounts, account.name)
        warnings += [*entry.oddities(), *pair.warnings]
        made.append(pair)
    check_clashes(made)
    nothing = Table({}, lambda field: f"{shown_path}: {field}")
    return Profile(
        path=path,
        feed="redis",  # the only feed that the original has
        pairs=tuple(pair.spec for pair in made),
        accounts=accounts,
        redis=redis_spec(nothing),
        mock=mock_spec(nothing, made),
        warnings=tuple(warnings),
        original=True,
    )


def _objects(text: str, shown_path: str) -> list[dict[str, object]]:
    hint = "the original's file is a list of objects, one for each maker pair"
    try:
        raw = json.loads(text, parse_float=Decimal, parse_constant=Decimal)
    except json.JSONDecodeError as error:
        said = f"{shown_path}: not JSON: {error.msg} (at line {error.lineno}, column {error.colno})"
        raise UsageError(one_line(said), "mend that line") from None
    except (ValueError, ArithmeticError):
        raise UsageError(f"{shown_path}: not JSON: a number has too many digits", "write it in full, shorter") from None
    except RecursionError:
        raise UsageError(f"{shown_path}: not JSON: lists within lists without end", "mend its brackets") from None
    if not isinstance(raw, list):
        raise UsageError(f"{shown_path}: {shown(raw)} is not a list", hint)
    if not raw:
        raise UsageError(f"{shown_path}: the list is empty: there is no pair", hint)
    for number, item in enumerate(raw, 1):
        if not isinstance(item, dict):
            raise UsageError(one_line(f"{shown_path}: entry {number}: {shown(item)} is not an object"), hint)
    return raw


@dataclass(frozen=True, slots=True)
class _Entry:
    """One object of the list, and ``where`` it is."""

    where: str
    raw: Mapping[str, object]

    @classmethod
    def of(cls, number: int, raw: Mapping[str, object], shown_path: str) -> _Entry:
        symbol = raw.get("Maker Symbol")
        return cls(f"{shown_path}: entry {number}" + (f" ({symbol[:40]})" if isinstance(symbol, str) else ""), raw)

    def wrong(self, key: str, said: str, hint: str = "") -> UsageError:
        return Table({}, self._place).wrong(key, said, hint)

    def _place(self, key: str) -> str:
        return f'{self.where}: "{key}"'

    def unknown_keys(self) -> list[str]:
        return [
            one_line(f'{self._place(key)}: unknown key, not read; the nearest known key is "{nearest(key, KEYS)}"')
            for key in self.raw
            if key not in KEYS
        ]

    def check_keys(self) -> None:
        """Raises ``UsageError`` for the first key that is missing, naming one that may be its misspelling."""
        for key in _REQUIRED:
            if key not in self.raw:
                alike = [other for other in self.raw if other not in KEYS and nearest(other, KEYS) == key]
                raise self.wrong(key, "is missing", f'is it "{alike[0]}"?' if alike else "add it to the object")

    def account(self, names: dict[tuple[str, ...], str]) -> AccountSpec:
        """The account of this entry: one for each venue and set of keys; ``names`` has those met before."""
        venue = self._venue()
        keys = [self._secret(key) for key in ("API KEY", "Secret", "Passphrase")]
        identity = (venue.name, *(key.get_secret_value() for key in keys))
        name = names.setdefault(identity, f"account-{len(names) + 1}" if names else DEFAULT_ACCOUNT)
        return AccountSpec(name, venue.name, Credentials(*keys) if all(identity[1:3]) else None)

    def _secret(self, key: str) -> SecretStr:
        value = self.raw.get(key) or ""
        if not isinstance(value, str):
            raise self.wrong(key, "the value is not text", 'write it in quotes, or leave it empty: ""')
        return SecretStr(value.strip())

    def _word(self, key: str) -> str:
        value = self.raw[key]
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(key, f"{shown(value)} is not a word", "write it in quotes")
        return value.strip()

    def _venue(self) -> KnownVenue:
        word, hint = self._word("Maker Exchange"), f"known: {', '.join(ORIGINAL_VENUES)}"
        venue = ORIGINAL_VENUES.get(word)
        if venue is None:
            raise self.wrong("Maker Exchange", f"{shown(word)} is not a venue that mmctl knows", hint)
        term = self._word("Term type")
        if term.upper() not in ("SPOT", "FUTURE"):
            raise self.wrong("Term type", f"{shown(term)} is not known", "one of SPOT, FUTURE")
        right = "FUTURE" if venue.futures else "SPOT"
        if term.upper() != right:
            raise self.wrong("Term type", f"{shown(term)} does not fit {venue.original}", f"write {right}")
        self._check_position_side(venue)
        return venue

    def _check_position_side(self, venue: KnownVenue) -> None:
        stated = self.raw.get("Position Side")
        if stated in (None, ""):
            return
        if not venue.futures:
            said = f"{shown(stated)} on {venue.original}: a spot venue has no position sides"
            raise self.wrong("Position Side", said, 'leave it empty: ""')
        if str(stated).upper() not in ("LONG", "SHORT"):
            raise self.wrong("Position Side", f"{shown(stated)} is not known", "one of LONG, SHORT, or empty")

    def tables(self) -> PairTables:
        """The entry as tables of mmctl's fields, whose messages name the original's keys."""
        exchange = self._word("Follow Exchange")
        if exchange not in ORIGINAL_EXCHANGES:
            hint = f"known: {', '.join(ORIGINAL_EXCHANGES)}"
            raise self.wrong("Follow Exchange", f"{shown(exchange)} is not an exchange that mmctl knows", hint)
        words = {field: self._word(key) for field, key in _PAIR_WORDS.items()}
        numbers = {field: self._number(key) for field, key in _PAIR_NUMBERS.items()}
        table = Table(
            {**words, **numbers, "follow_exchange": ORIGINAL_EXCHANGES[exchange]},
            lambda field: self._place(_PAIR_PLACES[field]),
        )
        symbol = words["follow_symbol"]
        base, quote = split_symbol(symbol) or (symbol.upper(), "")
        near, far = self._ladder(Layer.NEAR), self._ladder(Layer.FAR)
        return PairTables(f"{base}-{quote}" if quote else base, base, quote, table, near, far)

    def _ladder(self, which: Layer) -> Table | None:
        keys = _layer_keys(which)
        if which is Layer.FAR and self._number(keys["interval_s"]) == 0:
            return None
        values = {field: self._number(keys[field]) for field in _LAYER_NUMBERS}
        values |= {field: self._word(keys[field]) for field in _LAYER_WORDS}
        values |= {field: self._number(key) for field, key in _FORCE_REFRESH.items()}
        for field in _MARGINS:
            self._check_margin(which, keys[field], values[field])
        return Table(values, lambda field: self._place((keys | _FORCE_REFRESH)[field]))

    def _check_margin(self, which: Layer, key: str, value: object) -> None:
        if not isinstance(value, int | Decimal) or not Decimal(value).is_finite():
            return  # the model says so, as of any other number
        if value < 0:
            raise self.wrong(key, f"{shown(value)} is negative", _SIGN.format(shown(-value)))
        if value == 0 and which is Layer.FAR:
            raise self.wrong(key, "0 is no distance between far levels", "write basis points above 0")

    def _number(self, key: str) -> object:
        """A number, or a text of one as ``Decimal``; anything else as it is, for the model to refuse."""
        value = self.raw[key]
        if not isinstance(value, str):
            return value
        try:
            number = Decimal(value.strip())
        except InvalidOperation:
            return value
        return number if number.is_finite() else value

    def oddities(self) -> list[str]:
        """Warnings of values that are right as they stand, and perhaps not meant so."""
        ladders = [which for which in Layer if self._number(f"{which.capitalize()} Interval") != 0]
        margins = [_layer_keys(which)[field] for which in ladders for field in _MARGINS]
        warnings = [self._fraction(key) for key in margins]
        if self.raw.get("Position Side"):
            said = f"{shown(self.raw['Position Side'])} is not used: a mock venue has no position sides"
            warnings.append(f"{self._place('Position Side')}: {said}")
        if bool(self.raw.get("API KEY")) != bool(self.raw.get("Secret")):
            warnings.append(f'{self._place("API KEY")}: one of "API KEY" and "Secret" is empty, so neither is used')
        return [one_line(warning) for warning in warnings if warning]

    def _fraction(self, key: str) -> str:
        value = self._number(key)
        if not isinstance(value, int | Decimal) or not 0 < value < Decimal("0.01"):
            return ""
        as_bps = plain((Decimal(value) * 10_000).normalize())
        said = f"{plain(Decimal(value))} is read as {plain(Decimal(value))} basis points and looks like a fraction"
        return f"{self._place(key)}: {said}: if that is meant, write {as_bps} (basis points)"
