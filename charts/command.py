"""From the command line to a file: what both graph scripts do around their own load and draw."""

from __future__ import annotations

import argparse
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import psycopg2
import psycopg2.errors

import settings
from charts.period import Period, resolve
from charts.text import Language, language_of
from errors import ExplainedError, UsageError
from storage import series
from storage.connection import Connection, ReadingCursor, connect, one_line, shown_dsn
from storage.errors import DatabaseUnreachableError
from storage.remedies import remedy_for
from storage.schema import NOT_APPLIED, missing_tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DataT = TypeVar("DataT")

SUFFIXES = (".png", ".svg", ".pdf")

# The same data make the same bytes, whenever they are drawn.
_NO_DATE: Mapping[str, dict[str, None]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}

# What the server, which is there, does not do for us.
_REFUSED = (
    psycopg2.errors.InsufficientPrivilege,
    psycopg2.errors.QueryCanceled,
    psycopg2.errors.LockNotAvailable,
    psycopg2.errors.DeadlockDetected,
)


class GraphError(ExplainedError):
    """There is no picture."""


class NoDataError(GraphError):
    """There is nothing to draw."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be drawn, and how."""

    period: Period
    now: datetime  # aware
    language: Language
    tariff: settings.Tariff | None = None
    contract_a: Decimal | None = None
    with_current: bool = False


@dataclass(frozen=True, slots=True)
class Picture(Generic[DataT]):
    """A picture in two steps: *load* reads one site of the database, *draw* does without. None: there is no data."""

    load: Callable[[Connection, int, Order], DataT]
    draw: Callable[[DataT, Order], Figure | None]


def run(
    arguments: argparse.Namespace, name: str, picture: Callable[[], Picture[DataT]], *, now: datetime | None = None
) -> Path:
    """Draw what the command line names and return the path written; *name* is the start of the default file name.

    *picture* imports what loading it needs.
    Raises: ExplainedError.
    """
    config = settings.load_for_graphs(Path(arguments.config) if arguments.config is not None else None)
    order = _order(arguments, config, now or datetime.now(UTC))
    path = path_of(arguments.output, config.graph.output_dir, f"{name}_{order.period.name}")
    try:
        return write(picture(), _connected(config), config.storage.site, order, path)
    except NoDataError as err:
        raise GraphError(f"{err}; {_looked_into(arguments, config)}") from err


def write(
    picture: Picture[DataT], connected: AbstractContextManager[Connection], site: str, order: Order, path: Path
) -> Path:
    """Draw the picture of *site* into *path*, whose suffix chooses the format; what is *connected* is left before.

    Raises: NoDataError. GraphError: *path* cannot be written. psycopg2.Error.
    """
    _need_writable(Path(os.path.realpath(path)).parent)  # before anybody waits for a picture
    # A notebook's setting; it is looked at when matplotlib is loaded, and refused where its backend is not installed.
    os.environ.pop("MPLBACKEND", None)
    with ThreadPoolExecutor(1) as beside:
        # matplotlib takes longer to import than all else; meanwhile the server works.
        drawing = beside.submit(import_module, "charts.style")
        with connected as connection:
            number = series.site_id(connection, site)
            if number is None:
                raise NoDataError(f"no data: the database has no site {site!r} ([storage] site)")
            data = picture.load(connection, number, order)
        drawing.result()
    from charts import style

    with style.applied(order.language):
        figure = picture.draw(data, order)
        if figure is None:
            start, end = (moment.astimezone(order.period.zone) for moment in (order.period.start, order.period.end))
            raise NoDataError(f"no data from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} ({order.period.zone.key})")
        try:
            save(figure, path)
        except OSError as err:
            raise GraphError(f"{path} cannot be written: {err.strerror or err}") from err
    return path


def _need_writable(directory: Path) -> None:
    """Raise GraphError where no file can be made in *directory*."""
    try:
        if directory.is_dir() and os.access(directory, os.W_OK | os.X_OK):
            return
        what = "cannot be written" if directory.is_dir() else "is no directory"
    except OSError as err:  # such as one above it that lets nobody look
        what = f"cannot be used ({err.strerror})"
    raise GraphError(f"{directory} {what}", "choose another place with -o or [graph] output_dir")


def _looked_into(arguments: argparse.Namespace, config: settings.GraphSettings) -> str:
    """Name the database and the settings file that it comes from: it may be another than the reader thinks."""
    url = config.database.url
    where = f"the embedded database in {config.storage.data_dir}" if url is None else shown_dsn(url)
    file = Path(arguments.config or settings.DEFAULT_FILE)
    with suppress(FileNotFoundError):  # of the directory that we are in
        file = file.absolute()
    return f"looked into {where}, {f'as {file} says' if os.path.exists(file) else f'by default, without {file}'}"


def _order(arguments: argparse.Namespace, config: settings.GraphSettings, now: datetime) -> Order:
    period = resolve(
        zone=config.graph.timezone,
        now=now,
        date_text=arguments.date,
        days=arguments.days,
        start_text=arguments.start,
        end_text=arguments.end,
    )
    return Order(
        period=period,
        now=now,
        language=language_of(arguments.lang or config.graph.language, os.environ),
        tariff=config.tariff,
        contract_a=config.graph.contract_a,
        with_current=getattr(arguments, "current", False),
    )


@contextmanager
def _connected(config: settings.GraphSettings) -> Iterator[Connection]:
    """Open the database for reading: the database of the settings, or the embedded server under data_dir."""
    if config.database.url is not None:
        with _opened(config.database.url) as connection:
            yield connection
        return
    if not _is_recorded_in(config.storage.data_dir):
        raise NoDataError("no data: nothing was recorded yet")
    from storage.embedded import EmbeddedServer

    with EmbeddedServer(config.storage.data_dir) as server, _opened(server.url(), "try again") as connection:
        yield connection


def _is_recorded_in(data_dir: Path) -> bool:
    """Whether an embedded database was made there. Raises: GraphError: this user may not look."""
    try:
        return (data_dir / "postgresql").is_dir()
    except OSError as err:
        what = f"the embedded database in {data_dir} cannot be looked at: {err.strerror}"
        raise GraphError(what, "run this as the user whose files these are, or see [storage] data_dir") from err


def for_reading(connection: Connection) -> Connection:
    """Let every statement on *connection* be a bounded read-only transaction of its own."""
    connection.autocommit = True
    connection.cursor_factory = ReadingCursor
    connection.response_timeout_s = ReadingCursor.statement_timeout_s + 5.0  # the server says so by itself
    return connection


@contextmanager
def _opened(url: str, remedy: str | None = None) -> Iterator[Connection]:
    try:
        opened = connect(url)
    except DatabaseUnreachableError as err:
        raise GraphError(f"{err.what}: {remedy or err.remedy}") from err
    try:
        with closing(opened) as connection:
            yield for_reading(connection)
    except NOT_APPLIED as err:
        missing = missing_tables(one_line(err), shown_dsn(url))
        raise GraphError(missing.what, missing.remedy) from err
    except _REFUSED as err:
        reason = one_line(err)
        raise GraphError(f"the database refuses ({reason})", remedy_for(reason, err.pgcode)) from err
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as err:
        reason = one_line(err)
        raise GraphError(f"{shown_dsn(url)} was lost: {reason}: {remedy or remedy_for(reason)}") from err


def path_of(wanted: str | None, directory: Path, name: str) -> Path:
    """Return where to write: *wanted*, or a PNG called *name* in the directory *wanted* or in *directory*.

    Raises: UsageError: the suffix is none of those we can write. GraphError: nothing can be written there.
    """
    if not wanted:
        return directory / f"{name}.png"
    try:
        path = Path(wanted).expanduser()
        is_directory = path.is_dir()
    except (OSError, RuntimeError) as err:  # RuntimeError: ~ or ~user stands for no directory
        reason = (err.strerror if isinstance(err, OSError) else None) or "nobody of that name has a home directory here"
        raise GraphError(f"-o {wanted} cannot be used: {reason}", "choose another place") from err
    if is_directory or wanted.endswith(os.sep):
        return path / f"{name}.png"
    if path.suffix.lower() not in SUFFIXES:
        kinds = ", ".join(SUFFIXES)
        raise UsageError(f"-o: expected a directory, or a file that ends in {kinds}, got {wanted}")
    return path


def save(figure: Figure, path: Path) -> None:
    """Write the picture next to *path* and move it there, so that a reader never sees half of it.

    Where *path* is a link, the file it points to is replaced.
    Raises: OSError: the directory is missing, cannot be written or is full. Nothing is left behind.
    """
    target = Path(os.path.realpath(path))
    kind = target.suffix.lower().removeprefix(".") or "png"
    temporary = target.with_name(f".{secrets.token_hex(8)}{target.suffix}")  # a name of its own may be too long
    try:
        with temporary.open("xb") as file:
            figure.savefig(file, format=kind, metadata=_NO_DATE.get(kind))
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
