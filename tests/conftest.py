"""Every test starts from the same surroundings: nothing of this machine's operator, and a state folder of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest

# Typer and rich read some of these when they are imported, so they go before any test module is.
_SHAPES_OUTPUT = (
    *("FORCE_COLOR", "NO_COLOR", "PY_COLORS", "CLICOLOR", "CLICOLOR_FORCE", "COLORTERM", "TTY_COMPATIBLE"),
    *("TTY_INTERACTIVE", "COLUMNS", "LINES", "TERMINAL_WIDTH", "GITHUB_ACTIONS", "PYTHONUNBUFFERED"),
)
for _name in list(os.environ):
    if _name in _SHAPES_OUTPUT or _name.startswith(("MMCTL_", "_MMCTL_", "TYPER_", "_TYPER_")):
        del os.environ[_name]
os.environ["TERM"] = "xterm-256color"

# looptime asks for the current event loop before tests that have none. Up to Python 3.13 asking makes one,
# which nobody closes; saying that there is none prevents it.
asyncio.set_event_loop(None)


# Who runs the suite in the background or under nohup has these ignored, and whoever is started here would inherit that.
# A hangup still ends no test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)

# A machine that is busy is no fault, and the examples are the same ones in every run.
with contextlib.suppress(ImportError):  # the tests with clients of others have a venv that lacks it
    from hypothesis import HealthCheck, settings

    settings.register_profile("tests", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("tests")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Two processes a core: most of the tests that take long wait for sockets, processes and deadlines."""
    return None if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else 2 * (os.cpu_count() or 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, or the other processes would wait for it at the end."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(autouse=True)
def state_dir(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state folder of this test alone; the user's folders are empty ones, so no profile is found there."""
    home = tmp_path_factory.mktemp("home")
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(home / name.lower()))
    monkeypatch.setenv("MMCTL_STATE_DIR", str(home / "state"))
    # Nothing of a test leaves this machine: what would, finds a proxy that is not there.
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    return home / "state"
