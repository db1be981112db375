"""Profiles: find one, read it, and choose pairs of it.

    name or path -> file -> TOML (profile_toml) or the original's JSON (legacy) -> Profile

Importing this module imports pydantic, so the command line does it only in verbs that load a profile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mmctl.core.spec import PairSpec
from mmctl.errors import UsageError
from mmctl.legacy import parse_original
from mmctl.markets import is_live
from mmctl.profile_find import ENDINGS, find_profile, profiles_found, read_profile
from mmctl.profile_spec import AccountSpec, MockSpec, Profile, RedisSpec
from mmctl.profile_toml import parse_toml
from mmctl.profile_words import one_line, pairs_named

__all__ = [
    "AccountSpec",
    "MockSpec",
    "Profile",
    "RedisSpec",
    "load_profile",
    "profiles_with_live_venue",
    "select_pairs",
]


def load_profile(name_or_path: str | None, *, environ: Mapping[str, str], cwd: Path) -> Profile:
    """The profile asked for, else ``MMCTL_PROFILE``, else ``default``.

    Raises ``UsageError`` where there is none, where it cannot be read, and for the first mistake in it.
    """
    return _load(find_profile(name_or_path, environ=environ, cwd=cwd), cwd)


def select_pairs(profile: Profile, wanted: Sequence[str]) -> tuple[PairSpec, ...]:
    """The pairs that ``--pair`` names, by name or symbol, in the profile's order; all where it names none.

    Raises ``UsageError`` for one that fits no pair of the profile, or two.
    """
    return pairs_named(profile.pairs, wanted, profile.path.name)


def profiles_with_live_venue(cwd: Path) -> tuple[str, ...]:
    """The names of the profiles found that trade on more than the mock venue; broken ones are left out."""
    names = []
    for name, path in sorted(profiles_found(cwd).items()):
        try:
            profile = _load(path, cwd)
        except UsageError:  # a list of what could be stopped must not fail for a file nobody asked for
            continue
        if any(is_live(pair.venue) for pair in profile.pairs):
            names.append(name)
    return tuple(names)


def _load(path: Path, cwd: Path) -> Profile:
    shown = one_line(str(path.relative_to(cwd) if path.is_relative_to(cwd) else path))
    text = read_profile(path, shown)
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise UsageError(f"{shown}: neither TOML nor JSON by its name", f"let it end in {' or '.join(ENDINGS)}")
    return (parse_toml if ending == ".toml" else parse_original)(text, path, shown)
