"""A command whose options are read without pydantic: it takes longer to import than a stop may take in all.

Typer turns every option's text into its type with pydantic. Where text is what is wanted, or one of a few words, there
is nothing to turn; whatever does not fit goes Typer's own way, which also words the refusal.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

from typer.core import TyperCommand, TyperGroup, TyperOption

_Any = Any  # what Typer hands over and takes back is of no type


class PlainCommand(TyperCommand):
    """For ``app.command(cls=...)``."""

    def get_params(self, ctx: _Any) -> list[_Any]:
        return _made_plain(super().get_params(ctx))


class PlainGroup(TyperGroup):
    """For ``typer.Typer(cls=...)``: the options before the verb are read in any case."""

    def get_params(self, ctx: _Any) -> list[_Any]:
        return _made_plain(super().get_params(ctx))


def _made_plain(options: list[_Any]) -> list[_Any]:
    """The options, each reading its text by itself: an attribute of each, since Typer makes them, ``--help`` too."""
    for option in options:
        if isinstance(option, TyperOption) and not isinstance(getattr(option.get_runtime_param, "__self__", 0), _Plain):
            setattr(option, "get_runtime_param", _Plain(option).itself)  # noqa: B010
    return options


class _Plain:
    """In the place of the object that Typer has for one option."""

    def __init__(self, option: TyperOption) -> None:
        self._option = option
        self._typers_own = option.get_runtime_param

    def itself(self) -> _Plain:
        return self

    def coerce(self, value: _Any, param: _Any, ctx: _Any) -> _Any:
        """``value`` as the verb wants it. Raises what Typer raises."""
        wanted = self._option.type_descriptor.annotation
        if value is None:
            return () if self._option.multiple else None
        if wanted is str and isinstance(value, str):
            return value
        if wanted == list[str] and _is_texts(value):
            return list(value)
        if isinstance(wanted, type) and issubclass(wanted, Enum):
            for one in wanted:
                if value == one or value == one.value:
                    return one
        return self._typers_own().coerce(value, param=param, ctx=ctx)


def _is_texts(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(one, str) for one in value)
