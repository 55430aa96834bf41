"""The labels of a panel: they touch no other, no edge and no line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from charts import style

_APART_PX = 3.0
_LINE_HEIGHT = 1.3  # of the font's size, and as much again for each further line


class Box(NamedTuple):
    """A rectangle of the sheet, in its pixels from below left."""

    left: float
    bottom: float
    right: float
    top: float

    def touches(self, other: Box) -> bool:
        """Whether less than a few pixels lie between the two."""
        return (
            self.left < other.right + _APART_PX
            and other.left < self.right + _APART_PX
            and self.bottom < other.top + _APART_PX
            and other.bottom < self.top + _APART_PX
        )


class Place(NamedTuple):
    """Where a label may stand: pixels from its point to the edge or the middle that ha and va name."""

    right: float
    up: float
    ha: str
    va: str
    rotation: int = 0


_SIDES = ((0, "center"), (0, "left"), (0, "right"), (8, "left"), (-8, "right"))  # the last two beside a gap's edge
ABOVE = tuple(Place(right, 7, ha, "bottom") for right, ha in _SIDES)
BELOW = tuple(Place(right, -7, ha, "top") for right, ha in _SIDES)
BESIDE = (Place(8, 0, "left", "center"), Place(-8, 0, "right", "center"))
WITHIN = (Place(0, 0, "center", "center"), Place(0, 0, "center", "center", 90))


@dataclass(slots=True)
class Labels:
    """The labels of one panel, whose limits must be set. The first that are set have the choice."""

    axes: Axes
    gaps: Sequence[tuple[float, float]] = ()  # stretches of x that are left to labels within them, as far as can be
    taken: list[Box] = field(default_factory=list)
    crossable: list[Box] = field(default_factory=list)  # over which labels stand where there is no room beside

    def keep_clear(self, *, x: float | None = None, y: float | None = None) -> None:
        """Keep labels off a line at *x* or *y* that runs through the panel."""
        if x is not None:
            self.taken.append(self._stretch(x, x))
        if y is not None:
            panel, (_, y_px) = self._panel(), self._pixels(self.axes.get_xlim()[0], y)
            self.taken.append(Box(panel.left, y_px, panel.right, y_px))

    def keep_off_now(self, x: float) -> None:
        """Keep labels off the line of now, over which they stand on a white ground where nothing else is left."""
        self.crossable.append(self._stretch(x, x))

    def keep_clear_of_point(self, x: float, y: float, radius_px: float = 3.0) -> None:
        """Keep labels off a dot."""
        x_px, y_px = self._pixels(x, y)
        self.taken.append(Box(x_px - radius_px, y_px - radius_px, x_px + radius_px, y_px + radius_px))

    def keep_clear_of_bar(self, start: float, end: float, y: float) -> None:
        """Keep labels off a bar from 0 to *y*, between two values of x."""
        (left, base), (right, tip) = self._pixels(start, 0.0), self._pixels(end, y)
        self.taken.append(Box(left, min(base, tip), right, max(base, tip)))

    def set(
        self,
        text: str,
        points: Sequence[tuple[float, float]],
        places: Iterable[Place],
        *,
        gid: str,
        color: str = style.INK,
        size_pt: float = style.SMALL_PT,
        within: tuple[float, float, float] | None = None,
        ground: str | None = None,
    ) -> bool:
        """Set a label at the first of *places* around the first of *points* (data) where it fits; say whether it did.

        It must stay *within* two values of x and above one of y, where they are given. *ground* is a colour to fill
        it with.
        """
        tried = [(point, place) for place in places for point in points]
        # Over a gap only where there is no room beside it, and over the line of now where there is none at all.
        gaps = [] if within is not None else [self._stretch(*gap) for gap in self.gaps]
        for avoided in ([*gaps, *self.crossable], self.crossable, gaps, []):
            for point, place in tried:
                box = self._box(text, point, place, size_pt)
                if self._fits(box, within, avoided):
                    self.taken.append(box)
                    is_crossed = any(box.touches(line) for line in self.crossable)
                    ground = ground or ("white" if is_crossed else None)
                    self._draw(text, point, place, ground, gid=gid, color=color, fontsize=size_pt)
                    return True
        return False

    def _fits(self, box: Box, within: tuple[float, float, float] | None, avoided: Sequence[Box]) -> bool:
        room = self._panel() if within is None else self._stretch(*within)
        inside = room.left <= box.left and box.right <= room.right and room.bottom <= box.bottom and box.top <= room.top
        return inside and not any(box.touches(other) for other in (*self.taken, *avoided))

    def _stretch(self, start: float, end: float, low: float | None = None) -> Box:
        """Return the panel between two values of x, above a value of y."""
        y = self.axes.get_ylim()[0] if low is None else low
        (left, bottom), (right, _) = self._pixels(start, y), self._pixels(end, y)
        return Box(left, bottom, right, self._panel().top)

    def _draw(self, text: str, point: tuple[float, float], place: Place, ground: str | None, **look: Any) -> None:
        if ground is not None:
            look["bbox"] = {"facecolor": ground, "edgecolor": "none", "pad": 2.0}
        else:
            look["path_effects"] = [withStroke(linewidth=2.5, foreground="white", alpha=0.85)]
        per_px = 72 / style.DPI
        self.axes.annotate(
            text,
            point,
            xytext=(place.right * per_px, place.up * per_px),
            textcoords="offset points",
            ha=place.ha,
            va=place.va,
            rotation=place.rotation,
            zorder=5,
            annotation_clip=False,
            **look,
        )

    def _box(self, text: str, point: tuple[float, float], place: Place, size_pt: float) -> Box:
        per_pt = style.DPI / 72
        width = style.width_pt(text, size_pt) * per_pt + 2
        height = size_pt * _LINE_HEIGHT * (text.count("\n") + 1) * per_pt
        if place.rotation == 90:
            width, height = height, width
        x, y = self._pixels(*point)
        x, y = x + place.right, y + place.up
        left = x - {"left": 0.0, "center": width / 2, "right": width}[place.ha]
        bottom = y - {"bottom": 0.0, "center": height / 2, "top": height}[place.va]
        return Box(left, bottom, left + width, bottom + height)

    def _pixels(self, x: float, y: float) -> tuple[float, float]:
        found = self.axes.transData.transform((x, y))
        return float(found[0]), float(found[1])

    def _panel(self) -> Box:
        extent = self.axes.bbox
        return Box(extent.x0, extent.y0, extent.x1, extent.y1)
