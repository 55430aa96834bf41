"""What stands in a picture: its texts, its named parts, and which texts lie on each other."""

from __future__ import annotations

from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from charts import style
from charts.text import Language


def texts(figure: Figure, name: str | None = None) -> list[str]:
    """Give the visible texts of the picture, or those called *name*."""
    found: list[Any] = figure.findobj(Text)
    return [text.get_text() for text in found if text.get_text() and name in (None, text.get_gid())]


def named(figure: Figure, name: str) -> list[Any]:
    return figure.findobj(lambda artist: artist.get_gid() == name)


def overlaps(figure: Figure, language: Language) -> list[tuple[str, str]]:
    """Give the pairs of texts that lie on each other, and the texts that leave the sheet, as laid out by Agg."""
    with style.applied(language):
        canvas: Any = FigureCanvasAgg(figure)
        figure.draw_without_rendering()
        renderer = canvas.get_renderer()
        # Ticks beyond the edge of a panel exist but are not drawn.
        hidden = {
            id(label)
            for axes in figure.axes
            for tick in axes.yaxis.get_major_ticks()
            if not min(axes.get_ylim()) <= tick.get_loc() <= max(axes.get_ylim())
            for label in (tick.label1, tick.label2)
        }
        found: list[Any] = figure.findobj(Text)
        boxes = [
            (text.get_text(), text.get_window_extent(renderer).padded(-1))
            for text in found
            if text.get_visible() and text.get_text().strip() and id(text) not in hidden
        ]
    sheet = figure.bbox
    outside = [(name, "sheet") for name, box in boxes if box.x0 < sheet.x0 or box.x1 > sheet.x1 or box.y0 < sheet.y0]
    pairs = [
        (name, other)
        for number, (name, box) in enumerate(boxes)
        for other, other_box in boxes[number + 1 :]
        if box.overlaps(other_box)
    ]
    return outside + pairs
