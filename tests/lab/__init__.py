"""What the tests build on: one of each. Tests import from here, never from one another.

clock       LabClock: time that passes only when somebody waits
rig         Rig: a household, its meter, the stick and the line to it; what Lab and Home are made on
port        FakePort: a serial port that follows a script to its end
transcripts the published conversations of tests/data/transcripts, as bytes on the wire
module      Host: types at a simulated module; power_up(), make_meter()
bare        three_attempts_a_minute(): polls in a bare loop, to measure a session on a lossy link beside
radio       Radio, Wire: the stick and a line that lies, to a plan; faults: every kind of fault, and schedules of them
session     Lab: a session over the simulated module in virtual time
home        Home: the whole poller on it, with its idle tasks, its sensors and its storage, for minutes or for months
month       run(): a Home whose radio fails to a schedule, with every row looked at
sensors     buses and ports that watch or disturb
database    rounds to write, and a fake database that is unreachable, slow or particular on demand
recorded    Household: days written straight into PostgreSQL, for the pictures
pictures    what stands in a picture
documents   the documents as blocks, tables and code spans
check       --check in a household whose device is a simulated module
process     the poller as a process
machine     Machine: systemd as PID 1 in namespaces of its own, with the units as they are documented
"""
