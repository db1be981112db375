"""Help, its examples, completion, and what a verb imports before it is asked to do anything."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from .harness import MMCTL, PATIENCE_S, QUICK, ROOT, Caller, environment, mmctl, quick_profile

VERBS = (
    "run",
    "dry-run",
    "show-book",
    "diff",
    "cancel-near",
    "cancel-all",
    "resume",
    "halt",
    "status",
    "guard",
    "explain",
    "journal",
    "doctor",
    "sandbox",
    "drill",
)
EXAMPLE_CODES = {
    "run": 0,
    "dry-run": 0,
    "show-book": 0,
    "diff": 1,  # a mock venue that nobody has quoted on: everything is to be placed
    "cancel-near": 2,  # there are no keys for the venue
    "cancel-all": 2,
    "resume": 0,
    "halt": 0,
    "status": 0,
    "guard": 2,
    "explain": 2,  # there is no journal
    "journal": 2,
    "doctor": 4,  # no sandbox is running
    "drill": 0,
}
PLACES = {"REST": "http", "WS": "ws", "STREAM": "ws"}
HEAVY = ("rich", "pydantic", "pydantic_settings", "redis", "hiredis", "aiohttp", "msgspec", "platformdirs", "asyncio")


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_fits_80_columns_and_ends_with_0(call: Caller, verb: str) -> None:
    done = call(*filter(None, [verb]), "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"Usage: mmctl {verb}")
    assert max(map(len, done.out.splitlines())) <= 80
    assert not re.search(r"[a-z,]\.\.\.", done.out), "a summary is cut off"
    assert re.search(r"\[(str|list|int|NoneType)|<(str|int|list)", done.out) is None, "a type of Python's is shown"
    assert call(*filter(None, [verb]), "-h").out == done.out


def test_no_verb_at_all_shows_the_help(call: Caller) -> None:
    done = call()
    assert done.code == 0
    for verb in VERBS:
        assert re.search(rf"^  {verb} +\S", done.out, re.MULTILINE)


def test_the_version(call: Caller) -> None:
    done = call("--version")
    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(r"mmctl \d+\.\d+\.\d+\n", done.out)


@pytest.mark.parametrize("verb", EXAMPLE_CODES)
def test_the_example_of_every_verb_works_when_pasted(call: Caller, tmp_path: Path, verb: str) -> None:
    shown = call(verb, "--help").out
    example = re.search(r"^  Examples?:\n    (mmctl .+)$", shown, re.MULTILINE)
    assert example is not None, f"{verb} has no example"
    words = shlex.split(example[1])
    assert words[:2] == ["mmctl", verb]
    # As pasted, but not for as long: intervals of the default profile are those of a day's work.
    (tmp_path / "profiles").mkdir()
    quick_profile(tmp_path / "profiles", "default.toml", QUICK)
    live = (ROOT / "profiles" / "binance-spot.toml").read_text()
    quick_profile(tmp_path / "profiles", "binance-spot.toml", live)
    arguments = ["--for=1s" if word == "30s" else word for word in words[1:] if word != "--for"]
    nobody = {f"MMCTL_BINANCE_{what}_URL": f"{scheme}://127.0.0.1:9" for what, scheme in PLACES.items()}
    done = mmctl(*arguments, cwd=tmp_path, env=environment(**nobody) if verb == "doctor" else None)
    assert done.code == EXAMPLE_CODES[verb], done


def imported_by(code: str) -> set[str]:
    """Top names of what this Python has imported after ``code``."""
    script = f"{code}\nimport sys; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_help_imports_nothing_heavy() -> None:
    run = "from mmctl.cli import run_cli; assert run_cli({!r}) == 0".format
    assert not imported_by(run(["--help"])) & set(HEAVY)
    # Typer itself needs pydantic to read a verb's options.
    assert not imported_by(run(["cancel-near", "--help"])) & (set(HEAVY) - {"pydantic"})


def test_a_dry_run_has_no_way_to_a_venue(tmp_path: Path) -> None:
    """Nothing that could speak to a venue is there: neither an HTTP or WebSocket client nor a live venue's adapter."""
    path = quick_profile(tmp_path, text=QUICK + '[accounts.main]\nvenue = "binance"\n')
    run = f"from mmctl.cli import run_cli; assert run_cli(['dry-run', '--profile', {path!r}, '--rounds', '1']) == 0"
    assert not imported_by(run) & {"aiohttp", "httpx", "requests", "urllib3", "websockets", "ccxt", "redis"}
    script = f"{run}\nimport sys; print(*sorted(name for name in sys.modules if name.startswith('mmctl.venues.')))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    venues = done.stdout.splitlines()[-1].split()
    assert venues
    assert all(
        name.startswith(("mmctl.venues.mock", "mmctl.venues.agenda", "mmctl.venues.binance_public")) for name in venues
    )


def test_completion_is_to_be_had() -> None:
    # Typer asks the processes above which shell it is in; under a test runner there may be none.
    shown = mmctl("--show-completion", "bash", env=environment(_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1"))
    assert shown.code == 0
    assert "_MMCTL_COMPLETE=complete_bash" in shown.out


def completed(words: str) -> set[str]:
    """What bash would be offered after ``words``."""
    given = shlex.split(words + "x")
    env = environment(
        _MMCTL_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(given) - 1), _TYPER_COMPLETE_ARGS=words
    )
    done = subprocess.run(MMCTL, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    return set(done.stdout.split())


def test_completion_knows_the_verbs() -> None:
    assert completed("mmctl can") == {"cancel-near", "cancel-all"}


def test_completion_knows_the_options() -> None:
    assert completed("mmctl dry-run --ro") == {"--rounds"}
    assert completed("mmctl dry-run --output ") == {"live", "text", "json"}
