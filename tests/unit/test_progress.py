"""Progress in a log: few lines, and the time left by the rate so far."""

from hybrid_ml.console.progress import SECONDS_BETWEEN_LINES, ProgressLines, progress


def test_lines_are_far_apart_and_state_the_time_left() -> None:
    lines = ProgressLines("ABC: week 1 of 2, cycles", 1_008, began=100.0)
    found = [(second, line) for second in range(1, 101) if (line := lines.advance(10, 100.0 + second))]
    assert [second for second, _ in found] == [30, 60, 90]
    assert found[0][1] == "ABC: week 1 of 2, cycles: 300 of 1,008, about 0:01:11 left"
    assert found[2][1] == "ABC: week 1 of 2, cycles: 900 of 1,008, about 0:00:11 left"
    assert SECONDS_BETWEEN_LINES >= 10


def test_the_end_of_the_work_is_no_line() -> None:
    assert ProgressLines("cycles", 10, began=0.0).advance(10, 1_000.0) is None


def test_without_a_terminal_lines_go_to_the_log() -> None:
    moments, lines = iter([0.0, 10.0, 40.0, 45.0]), list[str]()
    with progress("cycles", 4, lines.append, lambda: next(moments)) as advance:
        for _ in range(3):
            advance(1)
    assert lines == ["cycles: 2 of 4, about 0:00:40 left"]
