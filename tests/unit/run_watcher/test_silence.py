"""Silence counts only while whoever counts was awake and the server answered."""

from uuid import uuid4

import pytest

from deployments.run_watcher.silence import LONGEST_STEP_SECONDS, Moment, SilenceClock

RUN, OTHER = uuid4(), uuid4()


def look_until(clock: SilenceClock, start: float, end: float, signs: dict) -> dict:
    """A look every five seconds, both clocks in step; what the last one said."""
    silent: dict = {}
    for second in range(int(start), int(end) + 1, 5):
        silent = clock.look(Moment(second, second), signs)
    return silent


def test_silence_is_counted_from_the_last_new_sign() -> None:
    clock = SilenceClock()
    assert look_until(clock, 0, 60, {RUN: ["running"]}) == {RUN: 60}
    assert look_until(clock, 65, 65, {RUN: ["running", "heartbeat 1"]}) == {RUN: 0}
    assert look_until(clock, 70, 95, {RUN: ["running", "heartbeat 1"]}) == {RUN: 30}
    assert look_until(clock, 100, 100, {RUN: ["completing", "heartbeat 1"]}) == {RUN: 0}


def test_a_sign_that_drops_out_of_sight_is_no_new_one() -> None:
    clock = SilenceClock()
    look_until(clock, 0, 0, {RUN: ["running", "heartbeat 1", "heartbeat 2"]})
    assert look_until(clock, 5, 30, {RUN: ["running", "heartbeat 2"]}) == {RUN: 30}


@pytest.mark.parametrize(
    "after",
    [
        Moment(80 + 5 + LONGEST_STEP_SECONDS, 80 + 5 + LONGEST_STEP_SECONDS),  # it was stopped
        Moment(85, 80 + 110),  # the machine was suspended, and its monotonic clock with it
        Moment(85, 80 - 3_600),  # somebody set the clock
    ],
)
def test_a_gap_in_either_clock_begins_the_count_anew_for_all(after: Moment) -> None:
    clock = SilenceClock()
    look_until(clock, 0, 80, {RUN: ["running"], OTHER: ["pending"]})
    assert clock.look(after, {RUN: ["running"], OTHER: ["pending"]}) == {RUN: 0, OTHER: 0}


def test_a_look_without_an_answer_begins_the_count_anew() -> None:
    clock = SilenceClock()
    look_until(clock, 0, 80, {RUN: ["running"]})
    clock.interrupt()
    assert look_until(clock, 85, 85, {RUN: ["running"]}) == {RUN: 0}
    assert look_until(clock, 90, 100, {RUN: ["running"]}) == {RUN: 15}


def test_runs_that_are_over_are_forgotten() -> None:
    clock = SilenceClock()
    look_until(clock, 0, 80, {RUN: ["running"], OTHER: ["running"]})
    assert look_until(clock, 85, 85, {OTHER: ["running"]}) == {OTHER: 85}
    assert look_until(clock, 90, 90, {RUN: ["running"]}) == {RUN: 0}
    assert clock.heard_at.keys() == clock.signs.keys() == {RUN}
