"""What a check of the surroundings came to: one value for one line, and what all of them come to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from mmctl.errors import EXIT_DONE, EXIT_USAGE, MmctlError


class Status(StrEnum):
    """``skip`` is what could not be looked at because something before it failed, or what does not apply."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Check:
    """``detail`` is what was found, ``hint`` the mend; ``exit_code`` is that of a failure."""

    name: str
    status: Status
    detail: str
    hint: str = ""
    pair: str = ""
    account: str = ""
    exit_code: int = EXIT_DONE


@dataclass(frozen=True, slots=True)
class About:
    """What a check is about; its methods are the ways in which it can end."""

    name: str
    pair: str = ""
    account: str = ""

    def ok(self, detail: str) -> Check:
        return self._check(Status.OK, detail)

    def warn(self, detail: str, hint: str = "") -> Check:
        return self._check(Status.WARN, detail, hint)

    def fail(self, detail: str, hint: str = "", exit_code: int = EXIT_USAGE) -> Check:
        return self._check(Status.FAIL, detail, hint, exit_code)

    def fault(self, error: MmctlError, hint: str = "") -> Check:
        """The failure that an exception tells of, with its exit code; ``hint`` is for one that has none."""
        return self.fail(error.message, error.hint or hint, error.exit_code)

    def skip(self, why: str) -> Check:
        return self._check(Status.SKIP, why)

    def _check(self, status: Status, detail: str, hint: str = "", exit_code: int = EXIT_DONE) -> Check:
        return Check(self.name, status, detail, hint, self.pair, self.account, exit_code)


@dataclass(frozen=True, slots=True)
class Tally:
    """What all checks come to. Of several failures the one whose exit code is the highest counts."""

    failed: int
    warned: int
    exit_code: int

    @classmethod
    def of(cls, checks: Iterable[Check]) -> Tally:
        counted = list(checks)
        return cls(
            failed=sum(check.status is Status.FAIL for check in counted),
            warned=sum(check.status is Status.WARN for check in counted),
            exit_code=max((check.exit_code for check in counted), default=EXIT_DONE),
        )
