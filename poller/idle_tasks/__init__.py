"""What is done between two polls: the scheduler, and each task in a file of its own."""

from poller.idle_tasks.half_hours import HalfHours
from poller.idle_tasks.history import MeterDays
from poller.idle_tasks.meter_clock import MeterClock
from poller.idle_tasks.meter_identity import InstalledMeter
from poller.idle_tasks.scheduler import AskDatabase, IdleTasks, Keep, Pause, Task, query, request
from poller.idle_tasks.time_budget import TimeBudget

__all__ = [
    "AskDatabase",
    "HalfHours",
    "IdleTasks",
    "InstalledMeter",
    "Keep",
    "MeterClock",
    "MeterDays",
    "Pause",
    "Task",
    "TimeBudget",
    "query",
    "request",
]
