"""What the picture shows of the energy: every kWh a sum of steps, worked out here, nothing drawn. See also charts.cost.

* bars: the steps that lie wholly inside each.
* total: the steps that lie wholly inside the period, so also those across two bars.
* lacks: what no bar holds, with its kWh or its reason.
* difference: the total less what was used in the same time before. usual: the median of the 28 days before; the day
  before where fewer than 7 of them are known. A month or a year is compared with the same a year earlier where the
  record has it, another longer period with the same length before it, a running one up to the same time. Times that
  lack more than a 24th, or more than a day, are not compared.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from charts.cost import BillingMonth, Cost, UnknownCost, billing_month_of, cost_of
from charts.period import (
    Period,
    Step,
    clipped,
    due_until,
    half_hour_before,
    next_half_hour,
    spans,
    step_of,
)
from storage import energy
from storage.energy import Lack, SpanEnergy
from storage.steps import Span

if TYPE_CHECKING:
    from settings import Tariff
    from storage.connection import Connection

USUAL_DAYS = 28
FEWEST_USUAL_DAYS = 7
_DAY = timedelta(days=1)

ComparedWith = Literal["usual", "yesterday", "year_before", "before"]


@dataclass(frozen=True, slots=True)
class Bar:
    """The energy of one bar; None: no step lies inside of it."""

    started_at: datetime
    ended_at: datetime
    used_kwh: Decimal | None
    sold_kwh: Decimal | None


@dataclass(frozen=True, slots=True)
class Difference:
    """How much more than usual was used; negative: less."""

    kwh: Decimal
    usual_kwh: Decimal
    compared_with: ComparedWith
    days: int


@dataclass(frozen=True, slots=True)
class EnergyData:
    """The energy of a period, up to the register that can be there by now. None means not known."""

    step: Step
    bars: list[Bar]
    used: SpanEnergy  # in all
    sold: SpanEnergy
    lacks: list[Lack]  # of what was used; what is not due yet is not lacking
    sold_lacks: list[Lack]  # of what was sold; where the register is the same before and after, nothing was
    exchanges: list[datetime]  # of the meter
    difference: Difference | None
    cost: Cost | UnknownCost | None
    billing_month: BillingMonth | None  # the one that is running, where the period reaches to now

    @property
    def has_registers(self) -> bool:
        """Whether there is any register of this period."""
        return self.used.kwh is not None or any(lack.reason != "unread" for lack in self.lacks)

    @property
    def sold_lacks_alone(self) -> list[Lack]:
        """What only the sold energy lacks: a lack of both is named once."""
        of_both = {(lack.started_at, lack.ended_at) for lack in self.lacks if lack.reason != "across"}
        return [lack for lack in self.sold_lacks if (lack.started_at, lack.ended_at) not in of_both]

    @property
    def sells(self) -> bool:
        """Whether anything was sold, or may have been."""
        return bool(self.sold.kwh or self.sold_lacks_alone)


def load(
    connection: Connection, site: int, period: Period, *, now: datetime, tariff: Tariff | None
) -> EnergyData | None:
    """Read the energy of *period*; None where no half hour of it is over yet."""
    step = step_of(period)
    cut = clipped(spans(period, step), next_half_hour(period.start), half_hour_before(now))
    if not cut:
        return None
    used = energy.read(connection, site, "import_kwh", cut)
    sold = energy.read_sold(connection, site, cut)
    total = used.total
    due = due_until(now)
    is_running = period.start < now < period.end
    return EnergyData(
        step=step,
        bars=[
            Bar(bar.started_at, bar.ended_at, bar.kwh, export.kwh)
            for bar, export in zip(used.spans, sold.spans, strict=True)
        ],
        used=total,
        sold=sold.total,
        lacks=_due(used.lacks, due),
        sold_lacks=[lack for lack in _due(sold.lacks, due) if lack.kwh != 0],
        exchanges=energy.exchanges(connection, site, (period.start, min(now, period.end))),
        difference=_difference(connection, site, period, total),
        cost=cost_of(connection, site, period.zone, total, sold.total, tariff) if tariff else None,
        billing_month=billing_month_of(connection, site, period.zone, now, tariff) if tariff and is_running else None,
    )


def _due(lacks: Sequence[Lack], due: datetime) -> list[Lack]:
    return [lack for lack in lacks if lack.reason != "unread" or lack.started_at < due]


def _difference(connection: Connection, site: int, period: Period, total: SpanEnergy) -> Difference | None:
    if total.kwh is None or total.first_at is None or total.last_at is None:
        return None
    span = (total.first_at, total.last_at)
    if not _comparable(total._replace(started_at=span[0], ended_at=span[1])):
        return None
    if period.shifted(period.end, days=-1) > period.start:
        if period.is_month or period.is_year:
            year_before = _known(connection, site, [(period.a_year_before(span[0]), period.a_year_before(span[1]))])
            if year_before:
                return _compared(total.kwh, year_before, "year_before", period.days)
        others = _known(connection, site, [_earlier(period, span, period.days)])
        return _compared(total.kwh, others, "before", period.days)
    days_before = [_earlier(period, span, days) for days in range(USUAL_DAYS, 0, -1)]
    usual = _known(connection, site, days_before)
    if len(usual) >= FEWEST_USUAL_DAYS:
        return _compared(total.kwh, usual, "usual", len(usual))
    return _compared(total.kwh, _known(connection, site, days_before[-1:]), "yesterday", 1)


def _earlier(period: Period, span: Span, days: int) -> Span:
    return period.shifted(span[0], days=-days), period.shifted(span[1], days=-days)


def _known(connection: Connection, site: int, cut: Sequence[Span]) -> list[Decimal]:
    found = energy.read(connection, site, "import_kwh", cut).spans
    return [span.kwh for span in found if span.kwh is not None and _comparable(span)]


def _comparable(span: SpanEnergy) -> bool:
    return span.lacking <= min((span.ended_at - span.started_at) / 24, _DAY)


def _compared(
    used_kwh: Decimal, others: Sequence[Decimal], compared_with: ComparedWith, days: int
) -> Difference | None:
    if not others:
        return None
    usual_kwh = statistics.median(others)
    return Difference(used_kwh - usual_kwh, usual_kwh, compared_with, days)
