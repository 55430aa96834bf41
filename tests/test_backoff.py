"""The pauses between attempts, by hand."""

from __future__ import annotations

from backoff import Backoff


def test_pauses_double_up_to_the_longest_and_begin_again_after_a_success() -> None:
    backoff = Backoff(1.0, 60.0)
    assert [backoff.failed() for _ in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    backoff.succeeded()
    assert [backoff.failed() for _ in range(2)] == [1, 2]
