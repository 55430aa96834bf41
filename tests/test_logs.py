"""The log gives a person the time and the journal the priority."""

from __future__ import annotations

import logging
import os
import re

import pytest

from poller.process import configure_log


@pytest.mark.parametrize("journal", [None, "8:12345"])  # the second: of whoever started the terminal
def test_a_person_reads_time_level_and_message(
    journal: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    if journal:
        monkeypatch.setenv("JOURNAL_STREAM", journal)
    configure_log(verbose=False)
    logging.warning("the link is lost")
    logging.debug("not shown")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} WARNING the link is lost\n", capsys.readouterr().err)


def test_the_journal_gets_the_priority_of_each_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stderr = os.stat("/proc/self/fd/2")
    monkeypatch.setenv("JOURNAL_STREAM", f"{stderr.st_dev}:{stderr.st_ino}")
    configure_log(verbose=True)
    logging.debug("a")
    logging.info("b")
    logging.warning("c")
    logging.error("d\ne")
    assert capsys.readouterr().err == "<7>a\n<6>b\n<4>c\n<3>d\n<3>e\n"  # syslog: debug 7, info 6, warning 4, error 3
