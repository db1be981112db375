"""A plan in colour for ``diff`` on a terminal: the very lines of the plain text, styled by their first mark."""

from __future__ import annotations

from rich.text import Text

from mmctl.core.report import Planned
from mmctl.views import theme
from mmctl.views.text import plan_lines

_STYLE = {"+": theme.ADDED, "-": theme.REMOVED, "=": theme.KEPT, "!": theme.BAD}


def plan(planned: Planned) -> Text:
    """The plan of one pair; it never wraps, so that a line stays a line."""
    return theme.as_text([(line, _STYLE.get(line[0], theme.STRONG))] for line in plan_lines(planned))
