"""How many processes `--workers auto` uses, and the reason that it states."""

import pytest
from pydantic import ValidationError

from hybrid_ml.replay import worker_count
from hybrid_ml.replay.worker_count import MEBIBYTE, WORKER_BYTES, choose_workers, free_memory
from hybrid_ml.schemas.requests import ReplayRequest

PLENTY = 100 * WORKER_BYTES


@pytest.mark.parametrize(
    ("cores", "weeks", "cycle_minutes", "free", "number", "reason"),
    [
        (4, 2, 10, PLENTY, 4, "4 cores"),
        (4, 2, 10, None, 4, "4 cores"),
        (64, 2, 10, PLENTY, 14, "14 pieces of work at a time"),
        (64, 30, 10, PLENTY, 30, "30 pieces of work at a time"),
        (8, 1, 1_440, PLENTY, 1, "1 piece of work at a time"),
        (8, 4, 10, 3 * WORKER_BYTES, 3, "1.5 GiB of free memory"),
        (8, 4, 10, 100 * MEBIBYTE, 1, "0.1 GiB of free memory"),
    ],
)
def test_workers_are_as_many_as_cores_work_and_memory_allow(
    cores: int, weeks: int, cycle_minutes: int, free: int | None, number: int, reason: str
) -> None:
    assert choose_workers(cores, weeks, cycle_minutes, free) == (number, reason)


def test_a_control_group_limits_the_free_memory(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_count, "CGROUP", tmp_path)
    machine = free_memory()
    assert machine is not None
    (tmp_path / "memory.current").write_text(f"{60 * MEBIBYTE}\n")
    (tmp_path / "memory.max").write_text(f"{64 * MEBIBYTE}\n")
    assert free_memory() == 4 * MEBIBYTE
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory() > 4 * MEBIBYTE


def test_auto_is_a_number_of_workers() -> None:
    assert ReplayRequest(start="2018-06-03", workers="auto").workers == 0
    assert ReplayRequest(start="2018-06-03", workers="3").workers == 3
    with pytest.raises(ValidationError, match="workers"):
        ReplayRequest(start="2018-06-03", workers="many")
