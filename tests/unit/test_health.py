"""Health reports: lasting problems, running time without pauses, unresponsive parts."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deployments.service.readiness import Readiness
from hybrid_ml.config.settings import load_settings
from hybrid_ml.diagnostics.settings_table import list_settings
from hybrid_ml.errors import BadInput
from hybrid_ml.health.checks import check_disks
from hybrid_ml.health.disk import FreeDisk
from hybrid_ml.health.problems import OpenProblem, Problem, Problems, format_duration, problem_text, report_text
from hybrid_ml.health.running_time import RunningTime
from hybrid_ml.health.state_file import State, monitored, only_one, read_state, write_state

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


def test_lasting_problem_is_reported_once_and_once_when_it_is_over() -> None:
    problems, lasting = Problems(), Problem("the database is away", "start it", must_last_seconds=60)
    lines = [problems.update({"database": lasting}, NOON + timedelta(seconds=at), at) for at in (0, 30, 60, 90)]
    assert [len(reports) for reports in lines] == [0, 0, 1, 0]
    assert report_text(lines[2][0]) == "⚠ hybrid-ml: the database is away, since 2026-11-29 12:00 UTC.\nStart it."
    assert problems.update({}, NOON, 95) == [], "a problem that was not checked stays open"
    [over] = problems.update({"database": None}, NOON + timedelta(minutes=12), 100)
    assert report_text(over) == "✓ hybrid-ml: over after 12 min: the database is away."
    assert problems.update({"database": None}, NOON, 110) == []


def test_problem_that_states_its_begin_has_no_other() -> None:
    [report] = Problems().update({"calendar": Problem("known until Friday", "load more", is_ahead=True)}, NOON, 0)
    assert report_text(report) == "⚠ hybrid-ml: known until Friday.\nLoad more."
    assert problem_text(report.problem) == "known until Friday; load more"


def test_short_problem_is_never_reported() -> None:
    problems, lasting = Problems(), Problem("x", "y", must_last_seconds=60)
    for at in range(0, 600, 30):
        assert problems.update({"x": None if at % 60 else lasting}, NOON, at) == []


def test_running_time_excludes_pauses() -> None:
    moments = iter([0.0, 1.0, 2.0, 112.0, 113.0])
    running = RunningTime(5.0, lambda: next(moments))
    assert [running.advance() for _ in range(4)] == [1.0, 2.0, 7.0, 8.0]


@pytest.mark.parametrize(
    ("seconds", "text"), [(45, "45 s"), (720, "12 min"), (11_100, "3 h 5 min"), (187_200, "2 d 4 h")]
)
def test_duration_is_formatted_briefly(seconds: int, text: str) -> None:
    assert format_duration(timedelta(seconds=seconds)) == text


def test_state_file_is_restored_and_old_state_is_marked(tmp_path: Path) -> None:
    opened = OpenProblem("disk", "no room", "make some", NOON)
    assert write_state(tmp_path, State(NOON, [opened], NOON))
    assert read_state(tmp_path) == State(NOON, [opened], NOON)
    assert monitored(tmp_path, NOON + timedelta(minutes=1)) == ([opened], "")
    assert "not since" in monitored(tmp_path, NOON + timedelta(minutes=6))[1]
    (tmp_path / "health" / "open.json").write_text('{"as_of": 7')
    assert read_state(tmp_path) is None
    assert not write_state(Path("/proc/nowhere"), State(NOON))
    with only_one(tmp_path) as first, only_one(tmp_path) as second:
        assert (first, second) == (True, False)
    with only_one(Path("/proc/nowhere")) as is_only:
        assert is_only


def test_disk_near_its_minimum_has_hysteresis(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FreeDisk(folder=Path("/srv"), free_mb=1_050, wanted_mb=1_000)
    monkeypatch.setattr("hybrid_ml.health.checks.free_disks", lambda _: [disk])
    settings = load_settings()
    assert check_disks(settings, set()) == {"disk of /srv": None}
    still = check_disks(settings, {"disk of /srv"})["disk of /srv"]
    assert still is not None
    assert "has 1,050 MB free, less than 1,000 MB" in still.text


def test_health_urls_and_tokens_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HYBRID_ML_HEALTH_WEBHOOK_URL", "HYBRID_ML_HEARTBEAT_URL"):
        monkeypatch.setenv(name, "https://example.com/secret")
        assert "secret" not in str(list_settings(load_settings()))
        monkeypatch.setenv(name, "secret without a scheme")
        with pytest.raises(BadInput, match=f"^{name}: no URL") as refused:
            load_settings()
        assert "secret" not in str(refused.value)
        monkeypatch.delenv(name)
    monkeypatch.setenv("HYBRID_ML_HEALTH_CHAT_ID", "123456:a-token-in-the-wrong-place")
    with pytest.raises(BadInput) as refused:
        load_settings()
    assert "a-token" not in str(refused.value)


def test_health_chats_default_to_alert_chats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_CHAT_ID", "1,2")
    assert load_settings().health_chat_ids == [], "there is no bot"
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "123456:secret")
    assert load_settings().health_chat_ids == ["1", "2"]
    monkeypatch.setenv("HYBRID_ML_HEALTH_CHAT_ID", "3")
    assert load_settings().health_chat_ids == ["3"]
    monkeypatch.setenv("HYBRID_ML_HEALTH_CHAT_ID", "Off")
    assert load_settings().health_chat_ids == []


@dataclass
class FakePart:
    """A part with configured answers: "" for ready, None for unknown."""

    name: str
    answer: str | None = ""
    start_seconds: float = 20.0
    starts: int = 1
    is_alive: bool = True
    replaced_at: list[float] = field(default_factory=list)
    clock: list[float] = field(default_factory=lambda: [0.0])

    def problem(self) -> str | None:
        return self.answer

    def replace(self) -> None:
        self.replaced_at.append(self.clock[0])
        self.starts += 1

    def diagnosis(self, problem: str) -> str:
        return f"{self.name} does not work ({problem}); mend it"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock of a Readiness, in seconds."""
    now = [0.0]
    monkeypatch.setattr(
        "deployments.service.readiness.RunningTime", lambda longest: RunningTime(longest, lambda: now[0])
    )
    return now


def watch(readiness: Readiness, clock: list[float], seconds: int) -> None:
    for _ in range(seconds):
        clock[0] += 1
        readiness.check()


def test_unresponsive_part_is_replaced_and_reported_after_three_restarts(clock: list[float]) -> None:
    part, lines, open_now = FakePart("server", clock=clock), [], {}
    readiness = Readiness([part], 150, lambda _, line: lines.append(line), open_now.__setitem__)
    watch(readiness, clock, 60)
    part.answer = "no answer"
    watch(readiness, clock, 140)
    assert part.replaced_at == []
    watch(readiness, clock, 25)
    assert len(part.replaced_at) == 1
    watch(readiness, clock, 100)
    assert open_now == {"server": "server does not work (no answer); mend it"}
    assert [line for line in lines if "without success" in line] == [
        f"3 restarts without success: {open_now['server']}"
    ]
    failed_restarts = len(part.replaced_at)
    watch(readiness, clock, 600)
    assert failed_restarts + 1 <= len(part.replaced_at) <= failed_restarts + 3, "it continues at a lower rate"
    part.answer = ""
    watch(readiness, clock, 20)
    assert open_now == {"server": ""}
    assert lines[-1] == "ready again"


def test_pause_and_unknown_state_replace_no_part(clock: list[float]) -> None:
    server, worker = FakePart("server", clock=clock), FakePart("worker", answer=None, clock=clock)
    readiness = Readiness([server, worker], 150, lambda *_: None, lambda *_: None)
    watch(readiness, clock, 60)
    server.answer = "no answer"
    worker.answer = "not heard of"
    watch(readiness, clock, 100)
    clock[0] += 110  # everything was suspended
    watch(readiness, clock, 20)
    assert server.replaced_at == []
    server.answer, worker.answer = "", None
    watch(readiness, clock, 600)
    assert server.replaced_at == worker.replaced_at == []
