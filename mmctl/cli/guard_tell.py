"""What ``mmctl guard`` says, a line for each thing, as soon as it is known."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence

from mmctl.cli.options import Output, note, say
from mmctl.cli.output import say_wrapped
from mmctl.cli.stop_receipt import Receipt, tell_receipt
from mmctl.cli.stop_targets import Target
from mmctl.engine.guarding import Finding
from mmctl.settings import state_dir

CALM_S = 5.0
"""A turn that waits for its feed and its venue may be quiet for so long in an engine that is well."""


class Teller:
    """Says what a guard sees and does, a line each, at once."""

    def __init__(self, output: Output, redis: str = "") -> None:
        self.output = output
        self._redis = redis

    def introduce(self, found: Sequence[Target], faults: Sequence[str], after_s: float) -> None:
        """Say what is watched, and what is not."""
        also = f" and {self._redis}" if self._redis else ""
        for target in found:
            what = ", ".join(target.names) if target.symbols else "every pair"
            self.line(
                target,
                "start",
                f"watching the engines of {what} in {state_dir(os.environ)}{also}; one that does not get on for"
                f" {after_s:g} s is halted and stopped as by cancel-all",
            )
        for fault in faults:
            note(f"{fault}: nothing is guarded there")
        if after_s < CALM_S:
            note(f"--after {after_s:g}s: a turn may wait so long for its venue: an engine that is well may be stopped")
        note("a guard needs the account's keys, and does not cover the death of its own host or its own connection")

    def line(self, target: Target, kind: str, detail: str, finding: Finding | None = None) -> None:
        """Tell one thing of one account."""
        from mmctl.core.status import GuardTold
        from mmctl.views import status as views

        engine = None if finding is None else finding.engine
        told = GuardTold(
            ts_ms=time.time_ns() // 1_000_000,
            kind=kind,
            venue=target.account.venue,
            account=target.account.name,
            engine=None if engine is None else engine.name,
            epoch=None if engine is None else engine.epoch,
            detail=detail,
        )
        with contextlib.suppress(OSError):  # a full disk under the output must not end the watching
            if self.output is Output.JSON:
                say(views.guard_json(told))
            else:
                say_wrapped(views.guard(told))

    def receipt(self, stopped: Receipt) -> None:
        """Tell how a stop ended."""
        with contextlib.suppress(OSError):
            tell_receipt(stopped, self.output)

    def finding(self, target: Target, finding: Finding, after_s: float) -> None:
        """Tell what a look found."""
        name = finding.engine.name
        because = f" ({finding.detail})" if finding.detail else ""
        # Of what was never seen in there nothing is known that could be guarded.
        then = (
            ""
            if finding.engine.record is None and finding.engine.where == self._redis
            else (f"; acting in {after_s:g} s unless that ends")
        )
        words = {
            "watching": f"{name} gets on",
            "well": f"{name} {'gets on' if finding.engine.record else 'can be seen'} again",
            "ended": f"{name} has ended in good order: nothing to guard",
            "gone": f"{name} is gone: nothing was known of it",
            "silent": f"{name} has not got on for {finding.quiet_s:.1f} s{because}",
            "dead": f"{name} is dead; acting in {after_s:g} s unless another takes over",
            "unknown": f"{name} cannot be seen{because}{then}",
        }
        self.line(target, finding.kind, words[finding.kind], finding)
