"""What a day of the poller writes to an SD card: python -m tests.benchmarks.card DIRECTORY [--minutes N].

DIRECTORY is on a file system of its own, such as ext4 on a loop device: all that the kernel writes to its device
counts, journal and all. One round a minute of the meter and three sensors, and the half hours, go through the real
outbox and the real delivery into the real embedded server. It takes its time: what is written depends on timers of the
kernel and of PostgreSQL, so that no minute can be made shorter. A checkpoint comes every six hours, at 0.5 MB. With
--database ELSEWHERE it is the outbox alone that is measured.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from storage.database import Database
from storage.delivery import Delivery
from storage.embedded import EmbeddedServer
from storage.outbox import Outbox
from storage.records import Bme280Row, Co2Row, CpuTemperatureRow, EnergyRow, PowerRow, Round, Row

SECTOR_BYTES = 512  # of /sys/block/*/stat, whatever the device's own are
MINUTES_A_DAY = 1440
MOST_MB_A_DAY, MOST_MB_OF_THE_OUTBOX = 160, 65
TOLD_EVERY = 5  # minutes
SETTLED_S = 10.0  # what making the database left behind is on the disk by then: the journal commits every 5 s


def sectors_written(directory: Path) -> int:
    """Return the sectors written to the device under *directory* since it is there (kernel, block/stat.rst)."""
    device = directory.stat().st_dev
    return int(Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text().split()[6])


def round_of(minute: int) -> Round:
    """Return the rows of one minute; every thirtieth has the registers of a half hour too."""
    now = datetime.now(UTC)
    kwh = Decimal("12345.6") + Decimal(minute) / 10
    rows: list[Row] = [
        PowerRow(now, 343 + minute, Decimal("3.4"), Decimal("1.2"), kwh, Decimal("678.0")),
        CpuTemperatureRow(now, 48.312),
        Co2Row(now, 600 + minute, 24, False),
        Bme280Row(now, 21.53, 47.12, 1013.27),
    ]
    if minute % 30 == 0:
        half_hour = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
        rows.append(EnergyRow(half_hour, kwh, Decimal("678.0"), "notified"))
    return Round(tuple(rows))


def main() -> int:
    """Poll for so many minutes, and say what a day of them writes."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.card", description="Measure what a day writes.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--database", type=Path, metavar="ELSEWHERE", help="on another device")
    arguments = parser.parse_args()
    most_mb = MOST_MB_OF_THE_OUTBOX if arguments.database else MOST_MB_A_DAY
    with (
        EmbeddedServer(arguments.database or arguments.directory) as server,
        closing(Outbox(arguments.directory)) as outbox,
    ):
        delivery = Delivery(Database(server.connect, site="home", shown="the embedded PostgreSQL"), outbox)
        with closing(delivery):
            delivery.start()
            outbox.append(round_of(-1))
            delivery.wait_until_drained(SETTLED_S)
            os.sync()
            time.sleep(SETTLED_S)
            written, began = sectors_written(arguments.directory), time.monotonic()
            for minute in range(arguments.minutes):
                outbox.append(round_of(minute))
                time.sleep(max(0.0, began + 60 * (minute + 1) - time.monotonic()))
                mb = (sectors_written(arguments.directory) - written) * SECTOR_BYTES / 1e6
                if (minute + 1) % TOLD_EVERY == 0:
                    sys.stderr.write(f"{minute + 1} min: {mb:.2f} MB\n")
    a_day = mb / arguments.minutes * MINUTES_A_DAY
    print(f"{mb:.2f} MB in {arguments.minutes} minutes: {a_day:.0f} MB a day, where {most_mb} are the most")
    return int(a_day > most_mb)


if __name__ == "__main__":
    sys.exit(main())
