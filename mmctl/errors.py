"""Every exception that mmctl raises on purpose, split by what the caller does next.

    MmctlError                 kind, message, hint, exit code
    ├── UsageError             2   the command line or the profile is wrong: mend it
    │   └── NoKeys                 an account has no keys
    ├── FeedError              3   there is no usable book
    │   ├── NoBook             the feed answers, and what it has cannot be quoted on: wait
    │   └── FeedUnreachable    the feed does not answer: wait, it is asked again
    ├── VenueError             4   the venue did not do what was asked
    │   ├── VenueRefused       it said no: mend (key, permission, symbol)
    │   └── VenueUnreachable   it did not say: what was asked may or may not have happened
    ├── PairHeld               5   another engine holds the pair
    └── StateUnreadable        70  the state folder cannot be read or written
        ├── JournalUnwritable      the journal cannot: nothing may be placed
        └── SharedUnreadable       Redis cannot, where hosts share halts and leases: nothing may be placed
            └── SharedAway         it does not answer at all

What a venue says of one order is not an exception but an event (``mmctl.core.events``); what the risk
rules refuse is a value with a reason. Exceptions are for faults.
"""

from __future__ import annotations

EXIT_DONE = 0
EXIT_CHANGES = 1
EXIT_USAGE = 2
EXIT_NO_BOOK = 3
EXIT_VENUE = 4
EXIT_HELD = 5
EXIT_FAULT = 70
EXIT_SIGINT = 130


class MmctlError(Exception):
    """A fault with one line for the operator.

    ``message`` says what happened and where (field, value, file); ``hint`` says what to do. Neither may
    ever hold a secret.
    """

    kind = "fault"
    exit_code = EXIT_FAULT

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(MmctlError):
    """Wrong usage or an invalid profile."""

    kind = "usage"
    exit_code = EXIT_USAGE


class NoKeys(UsageError):
    """An account has no keys, so nothing of it can be read or done."""


class FeedError(MmctlError):
    """No usable book can be had now."""

    kind = "feed"
    exit_code = EXIT_NO_BOOK


class NoBook(FeedError):
    """The feed answers but has no book that may be quoted on."""

    kind = "no_book"


class FeedUnreachable(FeedError):
    """The feed does not answer, refuses, or wants a password."""

    kind = "feed_unreachable"


class VenueError(MmctlError):
    """The venue refused, or could not be reached."""

    kind = "venue"
    exit_code = EXIT_VENUE


class VenueRefused(VenueError):
    """The venue answered no; asking again unchanged will not help."""

    kind = "venue_refused"


class VenueUnreachable(VenueError):
    """The venue did not answer; what was asked for may or may not have happened."""

    kind = "venue_unreachable"


class PairHeld(MmctlError):
    """Another engine holds this venue, account and symbol."""

    kind = "pair_held"
    exit_code = EXIT_HELD


class StateUnreadable(MmctlError):
    """The state folder cannot be read or written."""

    kind = "state_unreadable"


class JournalUnwritable(StateUnreadable):
    """The journal cannot be written or read: nothing may be placed until it can."""

    kind = "journal"


class SharedUnreadable(StateUnreadable):
    """Redis, where hosts share halts, records and leases, cannot be asked, or holds rubbish."""

    kind = "shared"


class SharedAway(SharedUnreadable):
    """It does not answer at all."""
