"""The house rules, held by reading the source: imports go downward only, and the core stays pure.

    cli -> bootstrap -> engine, views, feeds, venues -> ports -> core

Each rule is a function from a module to complaints. The first half of this file states the rules, the
second runs them over the house, the third feeds each a snippet that breaks it: a rule that cannot fail
holds nothing.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import mmctl

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mmctl"


@dataclass(frozen=True)
class Module:
    """One source file under its dotted name; ``is_package`` for an ``__init__.py``."""

    name: str
    source: str
    is_package: bool = False

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @property
    def layer(self) -> str:
        return layer_of(self.name)

    @cached_property
    def imports(self) -> tuple[tuple[int, str], ...]:
        """Line and dotted name of everything imported, at the top, inside functions and by ``import_module``."""
        return tuple(self._imports())

    def _imports(self) -> Iterator[tuple[int, str]]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                source = ".".join(filter(None, (self._anchor(node.level), node.module)))
                yield from ((node.lineno, f"{source}.{alias.name}") for alias in node.names)
            elif isinstance(node, ast.Call) and called(node) in ("import_module", "__import__"):
                named = node.args[0] if node.args else None
                text = named.value if isinstance(named, ast.Constant) else None
                yield node.lineno, text if isinstance(text, str) else "a name only known when it runs"

    def _anchor(self, level: int) -> str:
        if level == 0:
            return ""
        parts = self.name.split(".")
        return ".".join(parts[: len(parts) - level + self.is_package])


Rule = Callable[[Module], Iterator[str]]


def called(node: ast.Call) -> str:
    """The last name of what is called: ``sleep`` for ``asyncio.sleep()``."""
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


# The rules

MAY_IMPORT = {
    "core": {"core"},
    "wire": {"wire", "core"},
    "ports": {"core"},
    "profile": {"profile", "wire", "core"},
    "views": {"views", "core"},
    "feeds": {"feeds", "wire", "ports", "core"},
    "venues": {"venues", "wire", "ports", "core"},
    "engine": {"engine", "ports", "core"},
    # What hosts share, behind its port as a feed or a venue is.
    "shared": {"shared", "wire", "ports", "core"},
    # The exchange of the sandbox: it shares no code with the client that speaks to it.
    "sandbox": {"sandbox", "feeds", "wire", "core"},
    "bootstrap": {
        "bootstrap",
        "engine",
        "views",
        "feeds",
        "venues",
        "shared",
        "wire",
        "clock",
        "profile",
        "ports",
        "core",
        "root",
    },
    # Engines, a venue and a network of its own making, wired together to be tried.
    "drill": {
        *("drill", "sandbox", "bootstrap", "engine", "venues", "feeds", "wire", "profile", "ports", "core"),
    },
    # Nothing of feeds, venues and the clock: only bootstrap chooses one.
    "cli": {"cli", "bootstrap", "drill", "sandbox", "engine", "views", "profile", "ports", "core", "root"},
    "__main__": {"cli", "root"},
    "clock": set(),
    "errors": set(),
    "root": set(),
}
"""What each layer may import, besides ``errors``."""

ERRORS_TOO = MAY_IMPORT.keys() - {"clock", "root"}

# What the operator wants, in files and in the environment: one layer of several modules.
PROFILE_LAYER = re.compile(r"(profile|legacy|settings|markets)(_\w+)?")

IMPURE = {
    *("asyncio", "concurrent", "fcntl", "http", "importlib", "io", "logging", "multiprocessing", "os", "pathlib"),
    *("queue", "random", "sched", "secrets", "select", "selectors", "shutil", "signal", "socket", "ssl"),
    *("subprocess", "tempfile", "threading", "time", "urllib.request", "uuid"),
}
IMPURE_LIBRARIES = {"aiohttp", "platformdirs", "pydantic", "pydantic_settings", "redis", "rich", "typer"}

COME_WITH = {"annotated_types": "pydantic", "pydantic_core": "pydantic", "yarl": "aiohttp"}
"""Imports that a dependency documents as part of its own interface."""


def layer_of(name: str) -> str:
    """The layer of a dotted name within mmctl; its own first part where no layer is known for it."""
    part = [*name.split("."), ""][1]
    if part == "" or (part.startswith("__") and part != "__main__"):
        return "root"
    if part.startswith("bootstrap_"):
        return "bootstrap"
    return "profile" if PROFILE_LAYER.fullmatch(part) else part


def imports_go_downward(module: Module) -> Iterator[str]:
    if module.layer not in MAY_IMPORT:
        yield f"1: {module.name} is in no layer; say in MAY_IMPORT where it stands"
        return
    allowed = MAY_IMPORT[module.layer] | ({"errors"} if module.layer in ERRORS_TOO else set())
    for line, name in module.imports:
        if name.split(".")[0] == "mmctl" and layer_of(name) not in allowed:
            yield f"{line}: {module.layer} may not import {name}"
        elif " " in name:
            yield f"{line}: imports {name}, which nobody can check"


def pure_layers_touch_nothing(module: Module) -> Iterator[str]:
    """The core has no clock, no I/O and no library; wire formats may use a codec."""
    if module.layer not in ("core", "wire"):
        return
    for line, name in module.imports:
        top = name.split(".")[0]
        foreign = top not in sys.stdlib_module_names and top != "mmctl"
        impure = any(f"{name}.".startswith(f"{other}.") for other in IMPURE | IMPURE_LIBRARIES)
        if impure or (foreign and module.layer == "core"):
            yield f"{line}: {module.layer} is pure and may not import {name}"
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        if called(node) in ("now", "utcnow", "today") and "date" in ast.unparse(node.func):
            yield f"{node.lineno}: {module.layer} has no clock; let {ast.unparse(node.func)}() be passed in"
        if isinstance(node.func, ast.Name) and node.func.id in ("open", "input"):
            yield f"{node.lineno}: {module.layer} does no I/O, and {node.func.id}() is some"


def clock_needs_only_python(module: Module) -> Iterator[str]:
    if module.layer == "clock":
        for line, name in module.imports:
            if name.split(".")[0] not in sys.stdlib_module_names:
                yield f"{line}: the clock may not import {name}"


def only_the_command_line_prints(module: Module) -> Iterator[str]:
    if module.layer not in ("cli", "__main__"):
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                yield f"{node.lineno}: prints; only cli does"


def broad_excepts_say_what_they_save(module: Module) -> Iterator[str]:
    reasons = dict(_reasons(module.source))
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler):
            if isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None:
                continue  # it tidies up and passes everything on
            caught = [node.type] if node.type else []
            broad = not caught
        elif isinstance(node, ast.Call) and called(node) == "suppress":
            caught, broad = list(node.args), False
        else:
            continue
        names = {name.id for one in caught for name in ast.walk(one) if isinstance(name, ast.Name)}
        if (broad or names & {"Exception", "BaseException"}) and len(reasons.get(node.lineno, "").split()) < 3:
            yield f"{node.lineno}: catches everything; name the errors, or say in a comment there what that saves"


def _reasons(source: str) -> Iterator[tuple[int, str]]:
    """Line and words of each comment, without what it says to tools."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield (
                token.start[0],
                re.sub(r"#|noqa(: ?[A-Z0-9, ]+\b)?|type: ignore(\[[\w, -]+\])?|[-:]", " ", token.string),
            )


def libraries_are_declared(module: Module) -> Iterator[str]:
    """What comes along with another library today may be gone tomorrow."""
    for line, name in module.imports:
        top = name.split(".")[0]
        if top in sys.stdlib_module_names or top == "mmctl" or " " in top:
            continue
        distributions = {_normal(d) for d in distributions_of_packages().get(top, [])} | {COME_WITH.get(top, "")}
        if not distributions & declared("dependencies"):
            yield f"{line}: imports {top}, which pyproject.toml does not list"


@cache
def distributions_of_packages() -> Mapping[str, list[str]]:
    """Which distributions are installed under each top name; asking reads the files of all of them."""
    return packages_distributions()


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(key: str) -> set[str]:
    """The distributions that pyproject.toml lists, without versions and extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = [one for extra in project.get("optional-dependencies", {}).values() for one in extra]
    return {_normal(re.split(r"[\[<>=~!; ]", one)[0]) for one in [*project[key], *optional]}


RULES: tuple[Rule, ...] = (
    imports_go_downward,
    pure_layers_touch_nothing,
    clock_needs_only_python,
    only_the_command_line_prints,
    broad_excepts_say_what_they_save,
    libraries_are_declared,
)

# Joined here, so that this file does not name what it looks for.
MACHINE_PATH = re.compile(r"(?<![\w.-])/" + r"work(?=/|\b(?!-))")
REGISTRY = re.compile(
    r"https?://[^\s\"']*(?:pypi|python"
    + r"hosted|registry\.|/simple\b)|--(?:extra-)?index-"
    + r"url[ =]|find-"
    + "links",
    re.IGNORECASE,
)


def places_of_one_machine(text: str) -> list[str]:
    """Paths and package addresses that mean something on one machine only."""
    return [found.group() for pattern in (MACHINE_PATH, REGISTRY) for found in pattern.finditer(text)]


def tells_of_version(changelog: str, version: str) -> bool:
    """Whether a section is there for ``version``, or for what is not released yet."""
    return re.search(rf"^## \[?(Unreleased|{re.escape(version)})\b", changelog, re.MULTILINE) is not None


# The house


def house() -> Iterator[tuple[Path, Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        yield path, Module(".".join(parts[:-1] if is_package else parts), path.read_text(), is_package)


def house_files() -> list[Path]:
    """What is in git, or is about to be."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.mark.parametrize("rule", RULES)
def test_the_house_keeps(rule: Rule) -> None:
    complaints = [f"{path.relative_to(ROOT)}:{what}" for path, module in house() for what in rule(module)]
    assert not complaints, "\n".join(dict.fromkeys(complaints))


def test_every_layer_but_the_topmost_is_seen() -> None:
    assert {"core", "ports", "errors", "feeds", "venues", "engine"} <= {module.layer for _, module in house()}


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    found = {}
    for path in house_files():
        content = path.read_bytes()
        if b"\0" not in content and (places := places_of_one_machine(content.decode(errors="replace"))):
            found[str(path.relative_to(ROOT))] = places
    assert not found


def test_the_changelog_tells_of_this_version() -> None:
    assert tells_of_version((ROOT / "CHANGELOG.md").read_text(), mmctl.__version__)


# Each rule can fail

BREACHES = [
    (imports_go_downward, "mmctl.core.plan", "from mmctl.ports import Clock"),
    (imports_go_downward, "mmctl.core.plan", "def f():\n    from mmctl.engine import loop"),
    (imports_go_downward, "mmctl.core.plan", "from ..wire import binance"),
    (imports_go_downward, "mmctl.core.plan", "from mmctl import __version__"),
    (imports_go_downward, "mmctl.ports", "import mmctl.engine.loop"),
    (imports_go_downward, "mmctl.views.live", "from mmctl.ports import Feed"),
    (imports_go_downward, "mmctl.views.live", "if TYPE_CHECKING:\n    from mmctl.engine.loop import Loop"),
    (imports_go_downward, "mmctl.feeds.mock", "from mmctl.venues.mock import MockVenue"),
    (imports_go_downward, "mmctl.venues.mock", "from ..feeds import mock"),
    (imports_go_downward, "mmctl.venues.mock", "from mmctl import feeds"),
    (imports_go_downward, "mmctl.engine.loop", "from mmctl.venues.mock import MockVenue"),
    (imports_go_downward, "mmctl.engine.loop", "import_module('mmctl.feeds.redis')"),
    (imports_go_downward, "mmctl.engine.loop", "importlib.import_module(name)"),
    (imports_go_downward, "mmctl.engine.loop", "from mmctl.clock import SystemClock"),
    (imports_go_downward, "mmctl.wire.binance", "from mmctl.ports import Venue"),
    (imports_go_downward, "mmctl.profile_toml", "from mmctl.engine.loop import Loop"),
    (imports_go_downward, "mmctl.settings", "from mmctl.feeds.redis import RedisFeed"),
    (imports_go_downward, "mmctl.legacy", "from mmctl.views import theme"),
    (imports_go_downward, "mmctl.bootstrap", "from mmctl.cli import app"),
    (imports_go_downward, "mmctl.cli.run", "from mmctl.venues.mock import MockVenue"),
    (imports_go_downward, "mmctl.cli.show", "def f():\n    from mmctl.feeds import redis"),
    (imports_go_downward, "mmctl.errors", "from mmctl.core.order import Side"),
    (imports_go_downward, "mmctl.clock", "from mmctl.errors import MmctlError"),
    (imports_go_downward, "mmctl.helpers", ""),
    (pure_layers_touch_nothing, "mmctl.core.decide", "import asyncio"),
    (pure_layers_touch_nothing, "mmctl.core.decide", "def f():\n    from time import monotonic"),
    (pure_layers_touch_nothing, "mmctl.core.decide", "import logging.handlers"),
    (pure_layers_touch_nothing, "mmctl.core.decide", "from os import path"),
    (pure_layers_touch_nothing, "mmctl.core.decide", "import random"),
    (pure_layers_touch_nothing, "mmctl.core.decide", "import msgspec"),
    (pure_layers_touch_nothing, "mmctl.core.decide", "from pydantic import BaseModel"),
    (pure_layers_touch_nothing, "mmctl.core.decide", "from datetime import datetime\nat = datetime.now()"),
    (pure_layers_touch_nothing, "mmctl.core.decide", "import datetime\nat = datetime.date.today()"),
    (pure_layers_touch_nothing, "mmctl.core.decide", "text = open('book.json')"),
    (pure_layers_touch_nothing, "mmctl.wire.binance", "import aiohttp"),
    (pure_layers_touch_nothing, "mmctl.wire.binance", "from urllib.request import urlopen"),
    (clock_needs_only_python, "mmctl.clock", "import rich"),
    (clock_needs_only_python, "mmctl.clock", "from mmctl.ports import Clock"),
    (only_the_command_line_prints, "mmctl.engine.loop", "print('round')"),
    (broad_excepts_say_what_they_save, "mmctl.cli.run", "try:\n    f()\nexcept Exception:\n    pass"),
    (broad_excepts_say_what_they_save, "mmctl.cli.run", "try:\n    f()\nexcept (OSError, BaseException):\n    pass"),
    (broad_excepts_say_what_they_save, "mmctl.cli.run", "try:\n    f()\nexcept:  # noqa: E722\n    pass"),
    (
        broad_excepts_say_what_they_save,
        "mmctl.cli.run",
        "try:\n    f()\nexcept Exception:  # noqa: BLE001 - ok\n    pass",
    ),
    (broad_excepts_say_what_they_save, "mmctl.cli.run", "with suppress(Exception):\n    f()"),
    (
        broad_excepts_say_what_they_save,
        "mmctl.cli.run",
        "try:\n    f()\nexcept Exception:\n    if bad:\n        raise\n    g()",
    ),
    (libraries_are_declared, "mmctl.views.live", "def f():\n    import hypothesis"),
    (libraries_are_declared, "mmctl.views.live", "import markdown_it"),
]

INNOCENT = [
    ("mmctl.core.plan", "from . import order\nfrom mmctl.errors import MmctlError\nfrom datetime import timedelta"),
    ("mmctl.wire.binance", "import hmac\nfrom urllib.parse import urlencode\nfrom mmctl.core.book import Book"),
    ("mmctl.venues.mock", "from mmctl.ports import Venue\nfrom .agenda import Agenda\nimport asyncio"),
    ("mmctl.profile_toml", "from mmctl.settings import key_prefix\nfrom pydantic import BaseModel"),
    ("mmctl.bootstrap", "from mmctl.feeds.mock import MockFeed\nfrom mmctl.clock import SystemClock"),
    ("mmctl.cli.run", "from mmctl import __version__\nfrom mmctl.bootstrap import build\nprint('done')"),
    ("mmctl.engine.loop", "try:\n    f()\nexcept Exception:  # noqa: BLE001 - saves the other pairs\n    pass"),
    ("mmctl.engine.loop", "try:\n    f()\nexcept BaseException:\n    g()\n    raise"),
    ("mmctl.engine.loop", "try:\n    f()\nexcept (OSError, ValueError):\n    pass"),
]


@pytest.mark.parametrize(("rule", "name", "source"), BREACHES)
def test_a_breach_is_seen(rule: Rule, name: str, source: str) -> None:
    assert list(rule(Module(name, source)))


def test_each_rule_has_a_breach() -> None:
    assert {rule for rule, _, _ in BREACHES} == set(RULES)


@pytest.mark.parametrize(("name", "source"), INNOCENT)
def test_what_is_right_draws_no_complaint(name: str, source: str) -> None:
    assert [what for rule in RULES for what in rule(Module(name, source))] == []


def test_relative_imports_of_a_package_start_in_itself() -> None:
    module = Module("mmctl.core", "from .order import Side\nfrom ..engine import loop", is_package=True)
    assert [name for _, name in module.imports] == ["mmctl.core.order.Side", "mmctl.engine.loop"]


@pytest.mark.parametrize(
    "text",
    [
        "see /" + "work/main",
        "cd /" + "work",
        "file:///" + "work/x",
        "https://py" + "pi.org/simple",
        "https://files.python" + "hosted.org/x.whl",
        "--extra-index-" + "url https://example.org",
    ],
)
def test_a_place_of_one_machine_is_seen(text: str) -> None:
    assert places_of_one_machine(text)


@pytest.mark.parametrize(
    "text", ["a/work/flow", "/workers", "/work-flow", "--no-emit-index-url", "https://example.org"]
)
def test_other_places_are_not(text: str) -> None:
    assert places_of_one_machine(text) == []


@pytest.mark.parametrize(
    ("changelog", "tells"),
    [
        ("## Unreleased\n", True),
        ("# Log\n\n## [0.1.0] - 2026-11-22\n", True),
        ("## 0.1.01\n", False),
        ("0.1.0\n", False),
    ],
)
def test_a_missing_section_is_seen(changelog: str, tells: bool) -> None:
    assert tells_of_version(changelog, "0.1.0") is tells
