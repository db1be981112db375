"""A randomised soak under virtual time. ``MM_SOAK_SEEDS`` and ``MM_SOAK_FIRST`` choose other seeds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .soak import run_seed

SEEDS = int(os.environ.get("MM_SOAK_SEEDS", "20"))
FIRST = int(os.environ.get("MM_SOAK_FIRST", "1"))


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_the_invariants_hold_whatever_happens(seed: int, tmp_path: Path) -> None:
    run_seed(seed, tmp_path / "state")
