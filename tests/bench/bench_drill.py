"""How many engine rounds a second the drill plays on one core, with the default profile and every fault on.

    python tests/bench/bench_drill.py [SEEDS]

Processor time counts, not the clock on the wall: on a machine that does other things besides, the core is shared. Ends
with 1 where it is under 300 rounds a second, or where an invariant broke.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from mmctl.drill.run import run
from mmctl.drill.site import script_of
from mmctl.profile import load_profile, select_pairs

GOAL = 300
SEEDS = 60
ROUNDS = 30
ROOT = Path(__file__).parents[2]


def main() -> int:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else SEEDS
    profile = load_profile(str(ROOT / "profiles" / "default.toml"), environ={}, cwd=ROOT)
    script = script_of(profile, select_pairs(profile, []))
    run(script, range(1, 3), rounds=ROUNDS)  # what is imported at the first use is imported by then
    began_s, wall_s = time.process_time(), time.perf_counter()
    result = run(script, range(1, seeds + 1), rounds=ROUNDS)
    took_s, on_the_wall_s = time.process_time() - began_s, time.perf_counter() - wall_s
    rate = result.rounds / took_s
    print(
        f"{result.seeds} seeds, {result.rounds} rounds: {took_s:.1f} s of one core ({on_the_wall_s:.1f} s on the wall)"
    )
    print(f"{rate:.0f} rounds a second (at least {GOAL})")
    for played in result.broken:
        print(f"broken: {played.broken}")
    return 1 if rate < GOAL or result.broken else 0


if __name__ == "__main__":
    sys.exit(main())
