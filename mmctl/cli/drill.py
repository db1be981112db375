"""``mmctl drill``: the profile against a hostile venue, in virtual time."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmctl.cli.options import DebugOption, Output, PairOption, PlainOutputOption, ProfileOption, count, load, say
from mmctl.errors import EXIT_CHANGES, EXIT_DONE, UsageError

if TYPE_CHECKING:
    from mmctl.drill.run import Result

STANDARD_SEEDS = 100
STANDARD_ROUNDS = 30

SeedsOption = Annotated[
    str | None, typer.Option("--seeds", metavar="M", help="How many seeds.  [default: 100; 1 with --seed]")
]
SeedOption = Annotated[str | None, typer.Option("--seed", metavar="N", help="The first seed.  [default: 1]")]
RoundsOption = Annotated[
    str | None, typer.Option("--rounds", metavar="N", help="Turns of all ladders before the calm.  [default: 30]")
]
JobsOption = Annotated[
    str | None, typer.Option("--jobs", metavar="N", help="Seeds played at a time, each by a process.  [default: 1]")
]
TraceOption = Annotated[
    Path | None, typer.Option("--trace", metavar="FILE", help="Write all that happens to this file.")
]


def drill(
    pair: PairOption = None,
    profile: ProfileOption = None,
    seeds: SeedsOption = None,
    seed: SeedOption = None,
    rounds: RoundsOption = None,
    jobs: JobsOption = None,
    trace: TraceOption = None,
    output: PlainOutputOption = Output.TEXT,
    debug: DebugOption = False,
) -> int:
    """Play a profile against a hostile venue, in virtual time.

    The real engine and the venue's own request handling, on a network, a venue, a feed and a clock that fail.
    A seed decides all of it. Nothing is connected to, and no key is read.

    \b
    Examples:
      mmctl drill --seeds 5
      mmctl drill --profile NAME --seed 42
    """
    number, first = count(seeds, "--seeds"), count(seed, "--seed")
    wanted = number or (STANDARD_SEEDS if first is None else 1)
    turns = count(rounds, "--rounds") or STANDARD_ROUNDS
    beside = count(jobs, "--jobs") or 1
    if output is Output.LIVE:
        raise UsageError("--output live: a drill has no screen", "use --output text or json")
    if trace is not None and beside > 1:
        raise UsageError("--trace: one process writes it", "leave --jobs out")
    from mmctl.cli.output import say_wrapped
    from mmctl.drill.run import run
    from mmctl.drill.site import script_of
    from mmctl.profile import select_pairs

    loaded = load(profile)
    script = script_of(loaded, select_pairs(loaded, pair or []))
    start = first or 1
    with ExitStack() as stack:
        stack.enter_context(_ends_as_by_ctrl_c())
        out = None
        if trace is not None:
            try:
                out = stack.enter_context(trace.open("w"))
            except OSError as error:
                raise UsageError(f"--trace {trace}: {error.strerror}", "name a file that can be written") from None
        progress = _Progress(wanted)
        result = run(
            script, range(start, start + wanted), rounds=turns, jobs=beside, trace_to=out, told=progress.show
        )  # fmt: skip
        progress.end()
    if output is Output.JSON:
        say(_json(result))
    else:
        say_wrapped(_text(result, _options(profile, pair or [], turns)))
    return EXIT_CHANGES if result.broken else EXIT_DONE


@contextmanager
def _ends_as_by_ctrl_c() -> Iterator[None]:
    """SIGTERM and a hangup end a drill as Ctrl-C does: what it wrote down goes, and so do its processes."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Progress:
    """A counter on standard error, where that is a terminal."""

    def __init__(self, seeds: int) -> None:
        self._seeds = seeds
        self._shown = sys.stderr.isatty()

    def show(self, result: Result) -> None:
        if self._shown:
            broken = f", {len(result.broken)} broken" if result.broken else ""
            sys.stderr.write(f"\r{result.seeds}/{self._seeds} seeds, {result.rounds} rounds{broken}\x1b[K")
            sys.stderr.flush()

    def end(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _json(result: Result) -> str:
    import msgspec

    broken = [played.broken for played in result.broken if played.broken is not None]
    event = {
        "v": 1,
        "event": "drill",
        "seeds": result.seeds,
        "rounds": result.rounds,
        "faults": dict(sorted(result.faults.items())),
        "broken": [
            {"seed": one.seed, "step": one.step, "invariant": one.invariant, "detail": one.detail} for one in broken
        ],
        "trace_sha256": result.trace_sha256,
        "elapsed_ms": round(result.elapsed_ms, 1),
    }
    return msgspec.json.encode(event).decode()


def _options(profile: str | None, pairs: Sequence[str], turns: int) -> str:
    """What makes a seed the same one again: a seed of another profile is another one."""
    import shlex

    chosen = [] if profile is None else ["--profile", profile]
    for pair in pairs:
        chosen += ["--pair", pair]
    return shlex.join([*chosen, "--rounds", str(turns)])


def _text(result: Result, options: str) -> str:
    lines = []
    for played in result.broken:
        one = played.broken
        if one is not None:
            lines.append(f"seed {one.seed}: invariant {one.invariant} broke at step {one.step}: {one.detail}")
            lines += [f"  {line}" for line in played.schedule]
            lines.append(f"  again: mmctl drill --seed {one.seed} {options} --trace FILE")
    seconds = result.elapsed_ms / 1000
    faults = ", ".join(f"{name} {much}" for name, much in sorted(result.faults.items()))
    lines.append(f"faults: {faults}")
    lines.append(f"trace {result.trace_sha256}")
    speed = result.rounds / seconds if seconds else 0.0
    held = f"{len(result.broken)} broke" if result.broken else "every invariant held"
    lines.append(f"{result.seeds} seeds, {result.rounds} rounds in {seconds:.1f} s ({speed:.0f} a second): {held}")
    return "\n".join(lines)


def add_to(app: typer.Typer) -> None:
    """Add the verb of this file."""
    app.command("drill")(drill)
