"""The look of the pictures: few colours, each with one meaning; fonts; the sheet with its headline and panels.

No pyplot and no change of anybody's global style: use `with style.applied(language):` around drawing and saving.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnchoredOffsetbox, DrawingArea, HPacker, TextArea
from matplotlib.textpath import text_to_path
from matplotlib.transforms import ScaledTranslation, Transform

from charts.text import Language

BOUGHT = "#1f5a8c"  # power from the grid, and every measured line that is not about selling
SOLD = "#e08e0b"  # power to the grid
SOLD_TEXT = "#8f5600"  # words are darker than areas: at least 4.5:1 on white and on every ground of ours
USUAL = "#8c8c8c"  # what is usual
USUAL_TEXT = "#616161"
GOOD = "#e4f2e4"  # a comfortable range
GOOD_TEXT = "#33703a"
BAD = "#b83227"  # a limit, and what is over it
SECOND = "#7a5195"  # the second phase, which is dashed too
INK = "#222222"
MUTED = "#5f5f5f"
GRID = "#dddddd"
WEEKEND, WEEKEND_ALPHA = "#a06a10", 0.06  # a translucent tint, also over the comfortable range
GAP = "#f3f3f3"
GAP_HATCH = "#c9c9c9"

WIDTH_IN = 12.0
DPI = 100  # 1,200 px wide
_MARGIN_IN = 0.30
_LEFT_IN, _RIGHT_IN = 0.85, 0.35
_HEADER_IN, _ROW_IN, _TICKS_IN, _FOOTER_IN = 1.72, 0.85, 0.50, 0.75
_NAME_ABOVE_PT = 7
_WIDEST_SPACE_IN, _LEAST_SPACE_IN = 0.9, 0.3
SMALL_PT = 9.5
_LINE_IN = 0.18  # of a footnote
_BETWEEN_IN = 0.55  # holds the name of the panel below

_INSIDE_PT = (WIDTH_IN - 2 * _MARGIN_IN) * 72
PANEL_IN = WIDTH_IN - _LEFT_IN - _RIGHT_IN
_HEADLINE_IN = WIDTH_IN - _MARGIN_IN - _RIGHT_IN

_JAPANESE_FONT = "IPAexGothic"


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """One number of the headline: what it is, the number, and what else there is to say about it."""

    caption: str
    value: str
    note: str = ""
    color: str = INK


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """What something in a panel means, in its colour; *line* is the style of a line ("-", "--"), None for areas."""

    text: str
    color: str = MUTED  # of the words
    line: Literal["-", "--"] | None = None
    line_color: str | None = None  # where the words are darker than the line


@cache
def _register_japanese_font() -> None:
    """Make the font of matplotlib-fontja known. The package itself is not imported: that changes the global style."""
    spec = importlib.util.find_spec("matplotlib_fontja")
    if spec is not None and spec.submodule_search_locations:
        font = Path(spec.submodule_search_locations[0], "fonts", "ipaexg.ttf")
        if font.is_file():
            font_manager.fontManager.addfont(font)


@contextmanager
def applied(language: Language) -> Iterator[None]:
    """Draw and save in this house's style, in fonts that have every glyph of *language*."""
    families = ["DejaVu Sans"]  # comes with matplotlib
    if language == "ja":
        _register_japanese_font()
        families.insert(0, _JAPANESE_FONT)
    style: dict[Any, Any] = {
        "font.family": families,
        "font.size": 10.5,
        "text.color": INK,
        "axes.edgecolor": MUTED,
        "axes.labelcolor": INK,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "hatch.linewidth": 0.8,
        "svg.hashsalt": "power-consumption",
    }
    with mpl.rc_context(style):
        yield


def width_pt(text: str, size_pt: float) -> float:
    """Return how wide the widest line of a text is, in the fonts that are applied."""
    families = tuple(mpl.rcParams["font.family"])
    return max(_line_pt(line, size_pt, families) for line in text.split("\n"))


@lru_cache(maxsize=4096)
def _line_pt(line: str, size_pt: float, families: tuple[str, ...]) -> float:
    prop = font_manager.FontProperties(family=list(families), size=size_pt)
    return float(text_to_path.get_text_width_height_descent(line, prop, ismath=False)[0])


def in_lines(notes: Sequence[str], between: str) -> str:
    """Set notes one after the other, *between* them, in as many lines as the width of the sheet needs."""
    lines: list[str] = []
    for note in notes:
        longer = f"{lines[-1]}{between}{note}" if lines else note
        if lines and width_pt(longer, SMALL_PT) <= _INSIDE_PT:
            lines[-1] = longer
        else:
            lines.append(note)
    return "\n".join(lines)


def sheet(
    title: str, figures: Sequence[KeyFigure], panels_in: Sequence[float], footnote: str = ""
) -> tuple[Figure, list[Axes]]:
    """Return a figure with headline, footnote and an empty panel of each height; all panels share their edges."""
    rows = _rows(figures)
    header_in = _HEADER_IN + _ROW_IN * max(len(rows) - 1, 0)
    footer_in = _FOOTER_IN + _LINE_IN * footnote.count("\n") if footnote else _TICKS_IN
    height_in = header_in + sum(panels_in) + _BETWEEN_IN * (len(panels_in) - 1) + footer_in
    figure = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, facecolor="white")
    title_pt = min(15.0, 15.0 * _INSIDE_PT / width_pt(title, 15.0))
    figure.text(_MARGIN_IN / WIDTH_IN, 1 - 0.16 / height_in, title, fontsize=title_pt, va="top", gid="title")
    _headline(figure, rows, height_in)
    if footnote:
        place = (_MARGIN_IN / WIDTH_IN, 0.08 / height_in)
        figure.text(*place, footnote, fontsize=SMALL_PT, color=MUTED, va="bottom", gid="footnote")
    panels: list[Axes] = []
    top_in = height_in - header_in
    for panel_in in panels_in:
        bottom, height = (top_in - panel_in) / height_in, panel_in / height_in
        axes = figure.add_axes((_LEFT_IN / WIDTH_IN, bottom, PANEL_IN / WIDTH_IN, height))
        _quiet(axes)
        panels.append(axes)
        top_in -= panel_in + _BETWEEN_IN
    return figure, panels


def _rows(figures: Sequence[KeyFigure]) -> list[list[KeyFigure]]:
    """Set the figures in as many rows as they need, about as many in each."""
    for count in range(1, len(figures) + 1):
        length = math.ceil(len(figures) / count)
        rows = [list(figures[start : start + length]) for start in range(0, len(figures), length)]
        needed_in = sum(_widths_in(rows)) + _LEAST_SPACE_IN * (length - 1)
        if needed_in <= _HEADLINE_IN:
            return rows
    return []


def _size_pt(row: int, place: int) -> float:
    """Return the size of a value: the first figure of all is what people came for."""
    return 22.0 if row == place == 0 else 17.0


def _widths_in(rows: Sequence[Sequence[KeyFigure]]) -> list[float]:
    """Return how wide the figures are that stand below each other."""
    widths_pt = [
        [_width_pt(one, _size_pt(number, place)) for place, one in enumerate(row)] for number, row in enumerate(rows)
    ]
    return [max(column) / 72 for column in zip_longest(*widths_pt, fillvalue=0.0)]


def _width_pt(figure: KeyFigure, value_pt: float) -> float:
    return max(width_pt(figure.caption, SMALL_PT), width_pt(figure.note, SMALL_PT), width_pt(figure.value, value_pt))


def _headline(figure: Figure, rows: Sequence[Sequence[KeyFigure]], height_in: float) -> None:
    """Set the figures; those of several rows below each other."""
    widths_in = _widths_in(rows)
    between_in = min((_HEADLINE_IN - sum(widths_in)) / max(len(widths_in) - 1, 1), _WIDEST_SPACE_IN)
    for number, row in enumerate(rows):
        x_in = _MARGIN_IN
        for place, (key_figure, width_in) in enumerate(zip(row, widths_in, strict=False)):
            lines = (
                (0.55, key_figure.caption, SMALL_PT, MUTED, "top", "caption"),
                (1.00, key_figure.value, _size_pt(number, place), key_figure.color, "baseline", "value"),
                (1.06, key_figure.note, SMALL_PT, MUTED, "top", "note"),
            )
            for below_in, text, points, color, align, name in lines:
                x, y = x_in / WIDTH_IN, 1 - (below_in + number * _ROW_IN) / height_in
                figure.text(x, y, text, fontsize=points, color=color, va=align, gid=name)
            x_in += width_in + between_in


def name_panel(axes: Axes, name: str) -> None:
    """Put the panel's name and unit above its left edge."""
    axes.set_ylabel(name, rotation=0, ha="left", va="bottom", fontsize=10.5)
    axes.yaxis.set_label_coords(-(_LEFT_IN - _MARGIN_IN) / PANEL_IN, 1.0, transform=_above(axes))


def _above(axes: Axes) -> Transform:
    figure = axes.get_figure(root=True)
    return axes.transAxes + ScaledTranslation(0, _NAME_ABOVE_PT / 72, figure.dpi_scale_trans)  # type: ignore[union-attr]


def key(axes: Axes, entries: Sequence[KeyEntry]) -> None:
    """Say above the panel's right edge what its lines and areas mean."""
    if entries:
        row = AnchoredOffsetbox(
            loc="lower right",
            child=HPacker(children=[_entry(one) for one in entries], pad=0, sep=14, align="baseline"),
            pad=0,
            borderpad=0,
            frameon=False,
            bbox_to_anchor=(1.0, 1.0),
            bbox_transform=_above(axes),
        )
        axes.add_artist(row)


def _entry(entry: KeyEntry) -> Artist:
    words = TextArea(entry.text, textprops={"color": entry.color, "fontsize": SMALL_PT})
    if entry.line is None:
        return words
    sample = DrawingArea(20, 8)
    color = entry.line_color or entry.color
    sample.add_artist(Line2D([0, 20], [3.5, 3.5], color=color, linestyle=entry.line, linewidth=1.6))
    return HPacker(children=[sample, words], pad=0, sep=4, align="baseline")


def _quiet(axes: Axes) -> None:
    """Leave horizontal grid lines and numbers; nothing else has a meaning."""
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.grid(visible=True, axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0, labelsize=9.5)
    axes.tick_params(axis="x", labelsize=9.5, color=MUTED)
    axes.ticklabel_format(axis="y", style="plain", useOffset=False)


def hatch(axes: Axes, left: float, right: float, *, zorder: float, low: float = 0.0, high: float = 1.0) -> None:
    """Fill the panel with the sign for "nothing was measured", between two parts of its height, 0 to 1."""
    look: dict[str, Any] = {"facecolor": GAP, "edgecolor": GAP_HATCH, "hatch": "////", "linewidth": 0}
    axes.axvspan(left, right, low, high, zorder=zorder, gid="gap", **look)
