"""The look of the pictures: few colours, each with one meaning; fonts; the sheet with its headline and panels.

No pyplot and no change of anybody's global style: use `with style.applied(language):` around drawing and saving.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnchoredOffsetbox, HPacker, TextArea
from matplotlib.transforms import ScaledTranslation

from charts.text import Language, width_em

BOUGHT = "#1f5a8c"  # power from the grid, and every measured line that is not about selling
SOLD = "#e08e0b"  # power to the grid
USUAL = "#8c8c8c"  # what is usual
GOOD = "#e4f2e4"  # a comfortable range
GOOD_TEXT = "#3f7f3f"
BAD = "#c0392b"  # a limit, and what is over it
SECOND = "#7a5195"  # the second phase
INK = "#222222"
MUTED = "#666666"
GRID = "#dddddd"
HOLE = "#f3f3f3"
HOLE_HATCH = "#c9c9c9"

WIDTH_IN = 12.0
DPI = 100  # 1,200 px wide
_MARGIN_IN = 0.30
_LEFT_IN, _RIGHT_IN = 0.85, 0.35
_HEADER_IN, _TICKS_IN, _FOOTER_IN = 1.72, 0.50, 0.75
_NAME_ABOVE_PT = 7
_WIDEST_SPACE_IN = 0.9
_SMALL_PT = 9.5
_LINE_IN = 0.18  # of a footnote
_BETWEEN_IN = 0.55  # holds the name of the panel below

_JAPANESE_FONT = "IPAexGothic"


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """One number of the headline: what it is, the number, and what else there is to say about it."""

    caption: str
    value: str
    note: str = ""
    color: str = INK


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


def in_lines(notes: Sequence[str], between: str) -> str:
    """Set notes one after the other, *between* them, in as many lines as the width of the sheet needs."""
    lines: list[str] = []
    for note in notes:
        longer = f"{lines[-1]}{between}{note}" if lines else note
        if lines and width_em(longer) * _SMALL_PT / 72 <= WIDTH_IN - 2 * _MARGIN_IN:
            lines[-1] = longer
        else:
            lines.append(note)
    return "\n".join(lines)


def sheet(
    title: str, figures: Sequence[KeyFigure], panels_in: Sequence[float], footnote: str = ""
) -> tuple[Figure, list[Axes]]:
    """Return a figure with headline, footnote and an empty panel of each height; all panels share their edges."""
    footer_in = _FOOTER_IN + _LINE_IN * footnote.count("\n") if footnote else _TICKS_IN
    height_in = _HEADER_IN + sum(panels_in) + _BETWEEN_IN * (len(panels_in) - 1) + footer_in
    figure = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, facecolor="white")
    _headline(figure, title, figures, height_in)
    if footnote:
        place = (_MARGIN_IN / WIDTH_IN, 0.08 / height_in)
        figure.text(*place, footnote, fontsize=_SMALL_PT, color=MUTED, va="bottom", gid="footnote")
    panels: list[Axes] = []
    top_in = height_in - _HEADER_IN
    for panel_in in panels_in:
        box = (_LEFT_IN, top_in - panel_in, WIDTH_IN - _LEFT_IN - _RIGHT_IN, panel_in)
        left, bottom, width, height = box
        panels.append(
            figure.add_axes((left / WIDTH_IN, bottom / height_in, width / WIDTH_IN, height / height_in))
        )  # fmt: skip
        top_in -= panel_in + _BETWEEN_IN
    return figure, panels


def _headline(figure: Figure, title: str, figures: Sequence[KeyFigure], height_in: float) -> None:
    figure.text(_MARGIN_IN / WIDTH_IN, 1 - 0.16 / height_in, title, fontsize=15, va="top", gid="title")
    # The first figure is the answer people came for.
    sizes = [22.0 if place == 0 else 17.0 for place in range(len(figures))]
    widths_in = [_width_in(key_figure, size) for key_figure, size in zip(figures, sizes, strict=True)]
    room_in = WIDTH_IN - 2 * _MARGIN_IN - sum(widths_in)
    between_in = min(room_in / max(len(figures) - 1, 1), _WIDEST_SPACE_IN)
    x_in = _MARGIN_IN
    for key_figure, size, width_in in zip(figures, sizes, widths_in, strict=True):
        lines = (
            (0.55, key_figure.caption, _SMALL_PT, MUTED, "top", "caption"),
            (1.00, key_figure.value, size, key_figure.color, "baseline", "value"),
            (1.06, key_figure.note, _SMALL_PT, MUTED, "top", "note"),
        )
        for below_in, text, points, color, align, name in lines:
            place = (x_in / WIDTH_IN, 1 - below_in / height_in)
            figure.text(*place, text, fontsize=points, color=color, va=align, gid=name)
        x_in += width_in + between_in


def _width_in(key_figure: KeyFigure, size: float) -> float:
    """Estimate the inches that a figure needs; measuring them would need a renderer."""
    small = max(width_em(key_figure.caption), width_em(key_figure.note)) * _SMALL_PT
    return max(small, width_em(key_figure.value) * size) / 72


def name_panel(axes: Axes, name: str, key: Sequence[tuple[str, str]] = ()) -> None:
    """Put the panel's name and unit above its left edge, and coloured words for its lines above its right edge."""
    axes.set_ylabel(name, rotation=0, ha="left", va="bottom", fontsize=10.5)
    figure = axes.get_figure(root=True)
    above = axes.transAxes + ScaledTranslation(0, _NAME_ABOVE_PT / 72, figure.dpi_scale_trans)  # type: ignore[union-attr]
    axes.yaxis.set_label_coords(-(_LEFT_IN - _MARGIN_IN) / (WIDTH_IN - _LEFT_IN - _RIGHT_IN), 1.0, transform=above)
    if key:
        words: list[Artist] = [TextArea(text, textprops={"color": color, "fontsize": 9.5}) for text, color in key]
        row = AnchoredOffsetbox(
            loc="lower right",
            child=HPacker(children=words, pad=0, sep=14),
            pad=0,
            borderpad=0,
            frameon=False,
            bbox_to_anchor=(1.0, 1.0),
            bbox_transform=above,
        )
        axes.add_artist(row)


def quiet(axes: Axes) -> None:
    """Leave horizontal grid lines and numbers; nothing else has a meaning."""
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.grid(visible=True, axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0, labelsize=9.5)
    axes.tick_params(axis="x", labelsize=9.5, color=MUTED)
    axes.ticklabel_format(axis="y", style="plain", useOffset=False)


def hatch(axes: Axes, left: float, right: float, *, zorder: float) -> None:
    """Fill the height of the panel with the sign for "nothing was measured"."""
    axes.axvspan(
        left, right, facecolor=HOLE, edgecolor=HOLE_HATCH, hatch="////", linewidth=0, zorder=zorder, gid="gap"
    )  # fmt: skip
