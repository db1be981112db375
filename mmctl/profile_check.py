"""Reading one table of a profile by a pydantic model, so that every mistake becomes one line.

The line names the file, the key as the operator wrote it, the value and the mend; it never shows a value
of a secret field, nor that of a key that is unknown, which may be one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, TypeVar

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr, ValidationError
from pydantic_core import PydanticCustomError

from mmctl.core.instrument import plain
from mmctl.errors import UsageError
from mmctl.markets import nearest
from mmctl.profile_words import one_line

_MAX_DECIMALS = 18  # the finest unit of any asset in use; also keeps 1e-999999 out of fixed-point text
_LOOKS_SECRET = re.compile("key|secret|pass|token", re.IGNORECASE)


class Strict(BaseModel):
    """A table in which an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, hide_input_in_errors=True)


M = TypeVar("M", bound=Strict)


def _number(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise PydanticCustomError("said", "is not a number")
    number = Decimal(value)
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int):
        raise PydanticCustomError("said", "is not a finite number")
    if exponent < -_MAX_DECIMALS:
        raise PydanticCustomError("said", "has more decimals than any market")
    if number.adjusted() > _MAX_DECIMALS:
        raise PydanticCustomError("said", "is out of bounds")
    return number


Num = Annotated[Decimal, BeforeValidator(_number)]
"""Money and factors, exact: the number as it is written in the file."""
Real = Annotated[float, BeforeValidator(_number)]
"""Durations and probabilities."""
Whole = Annotated[int, BeforeValidator(_number)]


def one_of(known: Mapping[str, object] | tuple[str, ...]) -> BeforeValidator:
    """A text that is one of ``known``; the mend lists them."""

    def check(value: object) -> object:
        if value not in tuple(known):
            raise PydanticCustomError("said", "is not known", {"hint": f"known: {', '.join(known)}"})
        return value

    return BeforeValidator(check)


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a profile. ``name`` gives a field's place in words: ``x.toml: pairs.BTC-USDT.symbol``."""

    values: Mapping[str, object]
    name: Callable[[str], str]

    def read(self, model: type[M]) -> M:
        """The table by ``model``. Raises ``UsageError`` for the first mistake, an unknown key before others."""
        try:
            return model.model_validate(dict(self.values))
        except ValidationError as error:
            mistakes = error.errors(include_url=False)
        # A misspelt key is also a missing one: the spelling is what to mend.
        first = min(mistakes, key=lambda mistake: mistake["type"] != "extra_forbidden")
        raise self._explained(model, dict(first))

    def wrong(self, field: str, said: str, hint: str = "") -> UsageError:
        """The error that ``field`` ``said``, in one line of printable characters."""
        return UsageError(one_line(f"{self.name(field)}: {said}"), one_line(hint))

    def _explained(self, model: type[Strict], mistake: Mapping[str, Any]) -> UsageError:
        path = [str(part) for part in mistake["loc"]]
        field, kind = ".".join(path), mistake["type"]
        if kind == "extra_forbidden":
            return self.wrong(field, "unknown key", _known_instead(field, model.model_fields))
        if kind == "missing":
            return self.wrong(field, "is missing", _mend(model, path[0]))
        said = mistake["msg"] if kind == "said" else _SAID.get(kind.partition("_")[0], "is out of bounds")
        if _is_secret(model, path[0]):
            return self.wrong(field, f"the value {said}", _mend(model, path[0]))
        hint = mistake.get("ctx", {}).get("hint") or _mend(model, path[0])
        return self.wrong(field, f"{shown(mistake['input'])} {said}", hint)


_SAID = {
    "int": "is not a whole number",
    "string": "is not one that can be",
    "dict": "is not a table",
    "bool": "is neither true nor false",
    "enum": "is not known",
    "literal": "is not known",
}
"""What is wrong by the first word of pydantic's error type; the bounds' (``greater``, ``less``) are the rest."""


def _known_instead(key: str, known: Mapping[str, object]) -> str:
    if _LOOKS_SECRET.search(key):
        return "keys are read from the environment: MMCTL_<VENUE>_API_KEY and MMCTL_<VENUE>_API_SECRET"
    return f"the nearest known key is {nearest(key, known)}"


def _is_secret(model: type[Strict], field: str) -> bool:
    return SecretStr.__name__ in str(model.model_fields[field].annotation)


def _mend(model: type[Strict], field: str) -> str:
    """What a field takes: its description, its choices, its bounds."""
    info = model.model_fields[field]
    parts = [info.description or ""]
    if isinstance(info.annotation, type) and issubclass(info.annotation, Enum):
        parts.append("one of " + ", ".join(str(member.value) for member in info.annotation))
    for rule in info.metadata:
        if isinstance(rule, Gt):
            parts.append(f"above {shown(rule.gt)}")
        elif isinstance(rule, Ge):
            parts.append(f"at least {shown(rule.ge)}")
        elif isinstance(rule, Le):
            parts.append(f"at most {shown(rule.le)}")
    return ", ".join(part for part in parts if part)


def shown(value: object) -> str:
    """A value of a file in a message: short, and as the operator wrote it."""
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int | Decimal):
        number = Decimal(value)
        ordinary = number.is_finite() and -_MAX_DECIMALS <= number.adjusted() <= _MAX_DECIMALS
        text = plain(number) if ordinary else str(number)
    else:
        text = f"{value!r}" if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
