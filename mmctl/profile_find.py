"""Where profiles are: ``./profiles``, the user's config folder, and the copies that ship in the package."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from mmctl.errors import UsageError
from mmctl.markets import nearest
from mmctl.profile_words import one_line
from mmctl.settings import PROFILE_VARIABLE

DEFAULT_PROFILE = "default"
ENDINGS = (".toml", ".json")
SHIPPED = (DEFAULT_PROFILE, "sandbox")
"""The profiles of the repository that the package carries, and that are found from anywhere."""


def find_profile(name_or_path: str | None, *, environ: Mapping[str, str], cwd: Path) -> Path:
    """The file of a profile: the one asked for, else ``MMCTL_PROFILE``, else ``default``.

    What has a slash or one of the endings is a path, anything else a name. Raises ``UsageError`` where
    there is none, saying where it looked and what there is.
    """
    wanted = name_or_path if name_or_path is not None else environ.get(PROFILE_VARIABLE) or DEFAULT_PROFILE
    if "/" in wanted or Path(wanted).suffix.lower() in ENDINGS:
        path = cwd / Path(wanted).expanduser()
        if _is_there(path):
            return path
        looked = str(path)
    else:
        for name, path in _candidates(cwd):
            if name == wanted:
                return path
        looked = ", ".join(str(folder) for folder, _ in _folders(cwd))
    found = profiles_found(cwd)
    there = f"; the nearest is {nearest(wanted, found)}" if found else ""
    origin = f" (from {PROFILE_VARIABLE})" if name_or_path is None and environ.get(PROFILE_VARIABLE) else ""
    raise UsageError(
        one_line(f"there is no profile {wanted!r}{origin}: looked in {looked}"),
        one_line(f"profiles found: {', '.join(sorted(found)) or 'none'}{there}"),
    )


def profiles_found(cwd: Path) -> dict[str, Path]:
    """Every profile that can be named from ``cwd``, by name; an earlier folder hides a later one."""
    found: dict[str, Path] = {}
    for name, path in _candidates(cwd):
        found.setdefault(name, path)
    return found


def read_profile(path: Path, shown: str) -> str:
    """The text of a profile. Raises ``UsageError`` for a file that cannot be read as UTF-8 text."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        said, hint = f"is not UTF-8 text (byte {error.start})", "save it as UTF-8"
    except IsADirectoryError:
        said, hint = "is a folder, not a profile", f"name a file in it that ends in {' or '.join(ENDINGS)}"
    except PermissionError:
        said, hint = "may not be read by this user", "mend its permissions, or run as the user that owns it"
    except OSError as error:
        said, hint = f"cannot be read: {error.strerror}", "name another file"
    raise UsageError(f"{shown}: {said}", hint)


def _candidates(cwd: Path) -> Iterator[tuple[str, Path]]:
    for folder, names in _folders(cwd):
        for ending in ENDINGS:
            for path in sorted(folder.glob(f"*{ending}")):
                if names is None or path.stem in names:
                    yield path.stem, path


def _folders(cwd: Path) -> Iterator[tuple[Path, tuple[str, ...] | None]]:
    """Where names are looked up, in order; with ``None`` any name, else only those."""
    yield cwd / "profiles", None
    from platformdirs import user_config_path

    yield user_config_path("mmctl", appauthor=False), None
    packaged = Path(__file__).parent / "profiles"
    # An editable install has no copies: there the repository's own folder stands in for them.
    yield packaged if packaged.is_dir() else Path(__file__).parents[1] / "profiles", SHIPPED


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, a null byte
        return False
