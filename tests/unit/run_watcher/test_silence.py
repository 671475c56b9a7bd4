"""The time without heartbeat counts only while the watcher runs and the server answers."""

from uuid import uuid4

import pytest

from deployments.run_watcher.silence import LONGEST_STEP_SECONDS, Moment, SilenceClock

RUN, OTHER = uuid4(), uuid4()


def check_until(clock: SilenceClock, start: float, end: float, signs: dict) -> dict:
    """A check every five seconds, both clocks equal; returns the last result."""
    silent: dict = {}
    for second in range(int(start), int(end) + 1, 5):
        silent = clock.update(Moment(second, second), signs)
    return silent


def test_silence_counts_from_the_last_new_heartbeat() -> None:
    clock = SilenceClock()
    assert check_until(clock, 0, 60, {RUN: ["running"]}) == {RUN: 60}
    assert check_until(clock, 65, 65, {RUN: ["running", "heartbeat 1"]}) == {RUN: 0}
    assert check_until(clock, 70, 95, {RUN: ["running", "heartbeat 1"]}) == {RUN: 30}
    assert check_until(clock, 100, 100, {RUN: ["completing", "heartbeat 1"]}) == {RUN: 0}


def test_heartbeat_no_longer_returned_does_not_reset_silence() -> None:
    clock = SilenceClock()
    check_until(clock, 0, 0, {RUN: ["running", "heartbeat 1", "heartbeat 2"]})
    assert check_until(clock, 5, 30, {RUN: ["running", "heartbeat 2"]}) == {RUN: 30}


@pytest.mark.parametrize(
    "after",
    [
        Moment(80 + 5 + LONGEST_STEP_SECONDS, 80 + 5 + LONGEST_STEP_SECONDS),  # the process was stopped
        Moment(85, 80 + 110),  # the machine was suspended, including its monotonic clock
        Moment(85, 80 - 3_600),  # the clock was set back
    ],
)
def test_clock_jump_resets_silence_of_all_runs(after: Moment) -> None:
    clock = SilenceClock()
    check_until(clock, 0, 80, {RUN: ["running"], OTHER: ["pending"]})
    assert clock.update(after, {RUN: ["running"], OTHER: ["pending"]}) == {RUN: 0, OTHER: 0}


def test_failed_query_resets_silence() -> None:
    clock = SilenceClock()
    check_until(clock, 0, 80, {RUN: ["running"]})
    clock.interrupt()
    assert check_until(clock, 85, 85, {RUN: ["running"]}) == {RUN: 0}
    assert check_until(clock, 90, 100, {RUN: ["running"]}) == {RUN: 15}


def test_ended_runs_are_forgotten() -> None:
    clock = SilenceClock()
    check_until(clock, 0, 80, {RUN: ["running"], OTHER: ["running"]})
    assert check_until(clock, 85, 85, {OTHER: ["running"]}) == {OTHER: 85}
    assert check_until(clock, 90, 90, {RUN: ["running"]}) == {RUN: 0}
    assert clock.last_sign_at.keys() == clock.signs.keys() == {RUN}
