"""The energy of spans of time as sums of steps (storage.steps), for the pictures; always of one site and one register.

A span is the steps that lie wholly inside it. What no span holds is a Lack, with its kWh where they are known, and
spoils nothing beside it.

Times go in and come out aware, in UTC. Each function reads over the connection it is given and leaves opening, closing
and errors to its caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

from storage.series import TRUE_POWER
from storage.steps import HALF_HOUR, IS_REGISTER, METERS, Register, Span, fetched, fetched_over_steps

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from storage.connection import Connection

_HALF_HOURS_OF_DAY = 48
_HISTORY = timedelta(days=99)  # as far as a meter remembers; a longer gap of a register is not one that will be filled

Reason = Literal["across", "impossible", "exchange", "unread"]


class SpanEnergy(NamedTuple):
    """The steps that lie wholly inside a span, together."""

    started_at: datetime  # of the span
    ended_at: datetime
    kwh: Decimal | None  # exact; None: no step lies inside
    first_at: datetime | None  # first and last register of the steps
    last_at: datetime | None
    covered: timedelta  # how long the steps are, together

    @property
    def lacking(self) -> timedelta:
        """How much of the span no step of its own covers."""
        return self.ended_at - self.started_at - self.covered


class Lack(NamedTuple):
    """A step that no span holds, or the time before the first or after the last register.

    across: it reaches over the edge of a span; kwh is known. impossible: a fall that is no wrap, or a rise that cannot
    be true. exchange: the meter was exchanged in it. unread: one of its ends has no register.
    """

    started_at: datetime  # register before, or where the spans begin
    ended_at: datetime
    reason: Reason
    kwh: Decimal | None

    def inside(self, start: datetime, end: datetime) -> timedelta:
        """Return how much of it lies between two times."""
        return max(min(end, self.ended_at) - max(start, self.started_at), timedelta())

    def share_of(self, start: datetime, end: datetime) -> Decimal:
        """Return the kWh that fall between two times if it is even; 0 where they are not known."""
        half_hours = (self.ended_at - self.started_at) // HALF_HOUR
        return (self.kwh or Decimal(0)) * (self.inside(start, end) // HALF_HOUR) / half_hours


@dataclass(frozen=True, slots=True)
class Energy:
    """The energy of spans that follow one another, and what none of them holds, each in the order of time."""

    spans: list[SpanEnergy]
    lacks: list[Lack]

    @property
    def total(self) -> SpanEnergy:
        """All steps from the start of the first to the end of the last span, also those across two of them.

        Only for spans without gaps between them.
        """
        start, end = self.spans[0].started_at, self.spans[-1].ended_at
        across = [lack for lack in self.lacks if lack.kwh is not None and self.holds(lack)]
        of_spans = [span.kwh for span in self.spans if span.kwh is not None]
        of_lacks = [lack.kwh for lack in across if lack.kwh is not None]
        first = [span.first_at for span in self.spans if span.first_at] + [lack.started_at for lack in across]
        last = [span.last_at for span in self.spans if span.last_at] + [lack.ended_at for lack in across]
        covered = [span.covered for span in self.spans] + [lack.ended_at - lack.started_at for lack in across]
        return SpanEnergy(
            start,
            end,
            sum(of_spans + of_lacks, Decimal(0)) if first else None,
            min(first, default=None),
            max(last, default=None),
            sum(covered, timedelta()),
        )

    def holds(self, lack: Lack) -> bool:
        """Whether a lack lies wholly between the start of the first and the end of the last span."""
        return self.spans[0].started_at <= lack.started_at and lack.ended_at <= self.spans[-1].ended_at

    def spread(self) -> list[Decimal]:
        """Return the kWh of each span with its share of the steps across its edges, as if these were even."""
        return [
            sum((lack.share_of(span.started_at, span.ended_at) for lack in self.lacks), span.kwh or Decimal(0))
            for span in self.spans
        ]


# edges holds begin and end of each span, so an odd place is inside of span (place - 1) / 2.
_SPANS = """
select span, case when span is null then reason end as reason,
    min(earlier_at) as first_at, max(later_at) as last_at, sum(kwh) as kwh,
    sum(date_part('epoch', later_at - earlier_at)) as covered_s
from (
    select earlier_at, later_at, kwh,
        case when kwh is not null and place %% 2 = 1 and later_at <= next_edge then (place - 1) / 2 end as span,
        case when later_at is null then 'unread' when is_exchange then 'exchange' when kwh is null then 'impossible'
            else 'across' end as reason
    from (
        select *, (%(edges)s::timestamptz[])[place + 1] as next_edge
        from (
            select *, width_bucket(earlier_at, %(edges)s::timestamptz[]) as place from ({steps}) as steps offset 0
        ) as placed
    ) as edged
    where place %% 2 = 1 or later_at is null or later_at > next_edge
) as sorted
group by span, 2, case when span is null then earlier_at end
order by first_at
"""

# Steps of one length that begin at the same time of day share their half hours: they are spread afterwards.
_BY_TIME_OF_DAY = """
select (date_part('hour', local_at) * 2 + floor(date_part('minute', local_at) / 30))::integer as half_hour,
    half_hours, sum(kwh) as kwh
from (
    select earlier_at at time zone %(zone)s as local_at, kwh,
        (date_part('epoch', later_at - earlier_at) / 1800)::integer as half_hours
    from ({steps}) as steps
    where kwh is not null and earlier_at >= %(start)s and later_at <= %(end)s
) as inside
group by 1, 2
"""

_EXCHANGES = """
select distinct exchanged_at from ({meters}) as meters
where exchanged_at < 'infinity' and exchanged_at > %(start)s and exchanged_at <= %(end)s
order by 1
"""

# Where the register stands higher at the end, there is no need to look at what is between. Only a household that sold
# anything before lacks what is not read of it; the server looks for that only where needed. Where there is no export
# register at all, all this is null, and the readings of power tell whether anything was sold.
_EXPORTS = """
with reach as materialized (
    select coalesce((
        select max(registered_at) from energy
        where site_id = %(site_id)s and registered_at between %(before)s and %(start)s and {is_register}
    ), %(start)s) as first_at, coalesce((
        select min(registered_at) from energy
        where site_id = %(site_id)s and registered_at between %(end)s and %(after)s and {is_register}
    ), %(end)s) as last_at
)
select coalesce((
    select export_kwh from energy
    where site_id = %(site_id)s and export_kwh is not null
        and registered_at >= (select first_at from reach) and registered_at <= (select last_at from reach)
    order by registered_at limit 1
) <> (
    select export_kwh from energy
    where site_id = %(site_id)s and export_kwh is not null
        and registered_at >= (select first_at from reach) and registered_at <= (select last_at from reach)
    order by registered_at desc limit 1
) or (
    select max(export_kwh) > min(export_kwh) or bool_or(import_kwh is null and export_kwh is not null)
        or bool_or(import_kwh > 0 and export_kwh is null)
        and exists (select from energy where site_id = %(site_id)s and registered_at < %(end)s and export_kwh > 0)
    from energy
    where site_id = %(site_id)s
        and registered_at >= (select first_at from reach) and registered_at <= (select last_at from reach)
), exists (
    select from power
    where site_id = %(site_id)s and measured_at >= %(start)s and measured_at < %(end)s and power_w < 0 and {true_power}
))
"""


def read(connection: Connection, site: int, register: Register, spans: Sequence[Span]) -> Energy:
    """Read the kWh of each span. The ends must be on :00 or :30, and no span may begin before the one before it ends.

    Raises: ValueError: there is no span, or they overlap.
    """
    edges = [edge for span in spans for edge in span]
    if not edges or any(later < earlier for earlier, later in pairwise(edges)):
        raise ValueError("spans that follow one another were expected")
    energy, lacks = nothing(spans).spans, []
    first_register: datetime | None = None
    for number, reason, first_at, last_at, kwh, covered_s in fetched_over_steps(
        connection, _SPANS, register, site_id=site, start=edges[0], end=edges[-1], edges=edges
    ):
        first_at, last_at = first_at.astimezone(UTC), (last_at or edges[-1]).astimezone(UTC)
        first_register = first_register or first_at
        if number is None:
            lacks.append(Lack(max(first_at, edges[0]) if reason == "unread" else first_at, last_at, reason, kwh))
        else:
            covered = timedelta(seconds=covered_s)
            energy[number] = energy[number]._replace(kwh=kwh, first_at=first_at, last_at=last_at, covered=covered)
    if first_register is None or first_register > edges[0]:
        lacks.insert(0, Lack(edges[0], first_register or edges[-1], "unread", None))
    return Energy(energy, lacks)


def read_sold(connection: Connection, site: int, spans: Sequence[Span]) -> Energy:
    """Read what was sold in each span, as read() does; nothing where the export register adds nothing."""
    return read(connection, site, "export_kwh", spans) if exports(connection, site, spans) else nothing(spans)


def exports(connection: Connection, site: int, spans: Sequence[Span]) -> bool:
    """Whether the export register adds something about the *spans*: a rise, or a gap of its own.

    A register that has never stood above 0 has no gap: nothing was sold. One that a meter does not have is a gap where
    the power was negative. Where it adds nothing, its steps need not be added up, which takes as long as for the
    import register.
    """
    start, end = spans[0][0], spans[-1][1]
    sql = _EXPORTS.format(is_register=IS_REGISTER["export_kwh"], true_power=TRUE_POWER)
    around = {"before": start - _HISTORY, "after": end + _HISTORY}
    return bool(fetched(connection, sql, site_id=site, start=start, end=end, **around)[0][0])


def nothing(spans: Sequence[Span]) -> Energy:
    """Return the energy of a register that adds nothing."""
    return Energy([SpanEnergy(start, end, None, None, None, timedelta()) for start, end in spans], [])


def by_time_of_day(connection: Connection, site: int, register: Register, span: Span, zone: ZoneInfo) -> list[Decimal]:
    """Add up the kWh of each half hour of the day in *zone* (48, from 0:00) over the steps inside *span*.

    A step over several half hours is spread over them evenly.
    """
    kwh = [Decimal(0)] * _HALF_HOURS_OF_DAY
    rows = fetched_over_steps(
        connection, _BY_TIME_OF_DAY, register, site_id=site, start=span[0], end=span[1], zone=zone.key
    )
    for half_hour, half_hours, step_kwh in rows:
        for number in range(half_hours):
            kwh[(half_hour + number) % _HALF_HOURS_OF_DAY] += step_kwh / half_hours
    return kwh


def exchanges(connection: Connection, site: int, span: Span) -> list[datetime]:
    """Return when another meter was first seen in service within *span*, in the order of time."""
    found = fetched(connection, _EXCHANGES.format(meters=METERS), site_id=site, start=span[0], end=span[1])
    return [moment.astimezone(UTC) for (moment,) in found]
