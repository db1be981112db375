"""The whole screen of ``run`` and ``dry-run``: the first pair in full, a line for each other one.

The ladder and the context panel stand side by side wherever both can be read, else the panel stands on
top. The screen is always exactly as wide and high as it was asked to be.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from mmctl.core.instrument import plain
from mmctl.core.report import PairView
from mmctl.views import theme
from mmctl.views.context import badge, context_lines, touch_texts
from mmctl.views.ladder import LEGENDS, ladder_lines
from mmctl.views.text import clean, seconds
from mmctl.views.theme import Line

FOOTER = "Ctrl-C stops and cancels all own orders"
_SIDE_BY_SIDE = 72  # columns from which ladder and panel fit beside each other
_LADDER_MAX, _PANEL_MIN, _BETWEEN = 68, 34, 2
_FULL_PAIR = 20  # rows that the first pair keeps before other pairs get more than two lines


def screen(views: Sequence[PairView], width: int, height: int, *, title: str = "mmctl", footer: str = FOOTER) -> Text:
    """The screen in exactly ``width`` columns and ``height`` rows, as one ``Text`` that never wraps.

    ``footer`` must say what Ctrl-C does: a run that leaves its orders standing says so here.
    """
    body = max(0, height - 2)
    if views:
        others = _others(views[1:], max(2, min(body - _FULL_PAIR, body // 3)))
        lines = [*_pair(views[0], width, max(0, body - len(others))), *others]
    else:
        lines = [[("waiting for the first round", theme.FAINT)]]
    whole = [_top(views, title), *theme.fit_all(lines, width, body), _bottom(width, footer)]
    return theme.as_text(theme.fit_all(whole, width, height))


def _top(views: Sequence[PairView], title: str) -> Line:
    line: Line = [(clean(title), theme.STRONG)]
    if views:
        first = views[0]
        line += [("  ", theme.PLAIN), badge(first.mode), (f"  {first.pair}", theme.STRONG)]
        line.append((f"  {first.venue} {first.account}  up {_elapsed(first.elapsed_ms)}", theme.PLAIN))
    return line


def _bottom(width: int, footer: str) -> Line:
    """What Ctrl-C does, and what the marks mean where there is room for it."""
    line: Line = [(clean(footer), theme.STRONG)]
    room = width - theme.width_of(line[0][0]) - 2
    legend = next((each for each in LEGENDS if len(each) <= room), None)
    return line if legend is None else [*line, (f"  {legend}", theme.FAINT)]


def _pair(view: PairView, width: int, height: int) -> list[Line]:
    if width < _SIDE_BY_SIDE:
        panel = context_lines(view, width, height // 2)
        return [*panel, *ladder_lines(view, width, height - len(panel))]
    left = min(_LADDER_MAX, width - _PANEL_MIN - _BETWEEN, width * 11 // 20)
    right = width - left - _BETWEEN
    ladder = theme.fit_all(ladder_lines(view, left, height), left, height)
    panel = theme.fit_all(context_lines(view, right, height), right, height)
    return [[*one, (" " * _BETWEEN, theme.PLAIN), *other] for one, other in zip(ladder, panel, strict=True)]


def _others(views: Sequence[PairView], room: int) -> list[Line]:
    """A line for each, as many as fit, then how many more there are."""
    if len(views) <= room:
        return [_one_line(view) for view in views]
    hidden = views[room - 1 :]
    idle = sum(not view.quoting for view in hidden)
    more = f"+{len(hidden)} more" + (f", {idle} not quoting" if idle else "")
    return [*(_one_line(view) for view in views[: room - 1]), [(more, theme.BAD if idle else theme.FAINT)]]


def _one_line(view: PairView) -> Line:
    bid, ask = touch_texts(view.book)
    age = "no book" if view.age_ms is None else seconds(view.age_ms)
    state = ("quoting", theme.GOOD) if view.quoting else (clean(view.status), theme.BAD)
    rest = (
        f"  {bid} / {ask}  {age}  own {len(view.orders)}  fills {view.fills}"
        f"  position {plain(view.position)} {view.instrument.base}"
    )
    return [(f"{view.pair}  ", theme.STRONG), state, (rest, theme.PLAIN)]


def _elapsed(elapsed_ms: float) -> str:
    minutes, whole_seconds = divmod(int(elapsed_ms // 1000), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{whole_seconds:02d}"
