"""What ``mmctl doctor`` looks at, and in which order it is told. No fault hides another.

All that can be asked at the same time is, and all answers are due at one deadline: a server that hangs costs that
long once, whatever else hangs.
"""

from __future__ import annotations

import asyncio
import os
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmctl.bootstrap import Setup, system_clock
from mmctl.cli.examine_feed import feed_checks
from mmctl.cli.examine_venue import accounts_of, mode_check, venue_checks
from mmctl.core.checks import About, Check, Tally
from mmctl.engine.halt import FileHaltLatch
from mmctl.errors import EXIT_FAULT, EXIT_USAGE, StateUnreadable, UsageError
from mmctl.ports import Halt
from mmctl.profile import load_profile, select_pairs
from mmctl.settings import redis_url, state_dir, unknown_variables

DEADLINE_S = 2.3
"""When every answer is due. With the start of Python and the letting go of sockets that is three seconds."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The command line."""

    profile: str | None
    pairs: tuple[str, ...]
    feed: str | None
    redis_url: str | None
    debug: bool = False


async def examine(asked: Asked, show: Callable[[Check], None]) -> Tally:
    """Look at everything; ``show`` gets each check as soon as all before it are told."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(_Daemons())
    deadline_s = loop.time() + DEADLINE_S
    profile_checks, setup = _prepare(asked)
    jobs: list[asyncio.Task[list[Check]]] = []
    if setup is not None:
        jobs.append(_job(asked, "feed", feed_checks(setup, deadline_s)))
        jobs += [_job(asked, "venue", venue_checks(setup, one, deadline_s), one.name) for one in accounts_of(setup)]
    told: list[Check] = []
    for check in _local_checks(profile_checks, setup):
        told.append(check)
        show(check)
    for job in jobs:
        for check in await job:
            told.append(check)
            show(check)
    return Tally.of(told)


def _job(asked: Asked, name: str, work: Awaitable[list[Check]], account: str = "") -> asyncio.Task[list[Check]]:
    async def guarded() -> list[Check]:
        try:
            return await work
        except Exception as error:  # noqa: BLE001 - saves the other checks from a fault of these
            if asked.debug:
                traceback.print_exception(error)
            said = f"a fault inside mmctl: {type(error).__name__}"
            return [About(name, account=account).fail(said, "run again with --debug for the trace", EXIT_FAULT)]

    return asyncio.create_task(guarded())


def _local_checks(profile_checks: list[Check], setup: Setup | None) -> Iterator[Check]:
    """What this machine alone tells, real money first."""
    if setup is not None:
        yield from (mode_check(one) for one in accounts_of(setup))
    yield from profile_checks
    warnings = unknown_variables(os.environ)
    yield from (About("environment").warn(warning, "mend or remove it") for warning in warnings)
    if not warnings:
        yield About("environment").ok("every MMCTL_* variable is known")
    folder = state_dir(os.environ)
    yield state_check(folder)
    yield from _halt_checks(folder, setup)
    if setup is None:
        yield from (About(name).skip("there is no profile to go by") for name in ("feed", "venue"))


def _prepare(asked: Asked) -> tuple[list[Check], Setup | None]:
    """Load the profile; without one there is no setup, and an address of Redis that is none is left out."""
    checks: list[Check] = []
    try:
        profile = load_profile(asked.profile, environ=os.environ, cwd=Path.cwd())
    except UsageError as error:
        return [About("profile").fault(error)], None
    checks += [About("profile").warn(warning) for warning in profile.warnings]
    try:
        pairs = select_pairs(profile, asked.pairs)
    except UsageError as error:
        return [*checks, About("pairs").fault(error)], None
    checks.insert(0, About("profile").ok(f"{profile.path} loads: {', '.join(pair.name for pair in pairs)}"))
    url = None
    try:
        chosen = redis_url(asked.redis_url, os.environ, profile.redis.url)
        url = None if chosen is None else chosen.get_secret_value()
    except UsageError as error:
        checks.append(About("redis").fault(error))
    feed = profile.feed if asked.feed is None else asked.feed
    return checks, Setup(profile, pairs, feed, url, state_dir(os.environ), system_clock())


def state_check(folder: Path) -> Check:
    """Whether halts and epochs can be kept in ``folder``; it need not be there yet."""
    about = About("state")
    hint = "mend its permissions, or set MMCTL_STATE_DIR"
    try:
        there = next(one for one in (folder, *folder.parents) if one.exists())
    except OSError as error:
        return about.fail(f"{folder} cannot be read: {error.strerror}", hint)
    if not there.is_dir():
        return about.fail(f"{there} is not a folder", hint)
    if not os.access(there, os.R_OK | os.W_OK | os.X_OK):
        return about.fail(f"{there} may not be written by this user", hint)
    return about.ok(f"{folder} can be used{'' if there == folder else ', it will be made'}")


def _halt_checks(folder: Path, setup: Setup | None) -> Iterator[Check]:
    about = About("halts")
    try:
        halts = FileHaltLatch(folder).halts()
    except StateUnreadable as error:
        yield about.fail(error.message, error.hint, EXIT_USAGE)
        return
    ours = [halt for halt in halts if setup is None or _concerns(halt, setup)]
    yield from (about.warn(f"{halt}", "`mmctl resume` lifts it") for halt in ours)
    if not ours:
        yield about.ok("none in force")


def _concerns(halt: Halt, setup: Setup) -> bool:
    return any(halt.scope.covers(*spec.key, layer.layer) for spec in setup.pairs for layer in spec.layers)


class _Daemons(ThreadPoolExecutor):
    """Each call in a thread that nobody waits for: a name server that is silent must not hold the end up."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - saves whoever waits for the future from waiting for ever
                future.set_exception(error)
            else:
                future.set_result(result)

        threading.Thread(target=run, daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing to wait for."""
