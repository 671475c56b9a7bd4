"""`hybrid-ml status` on a terminal."""

from datetime import UTC, datetime, timedelta

import pytest

from deployments.status.collect import InstallationStatus
from deployments.status.table import show_status
from hybrid_ml.config.settings import DEFAULT
from hybrid_ml.console.terminal import out
from hybrid_ml.diagnostics.settings_table import SettingRow
from hybrid_ml.schemas.bot_status import LastAnswer, SymbolStatus

NOW = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("rows", "accuracy", "shown"),
    [(200, 0.3, "(48 h) 0.300 on 200 rows 11:58 up 0.70, signal"), (0, None, "(48 h) 11:58 up 0.70, signal")],
)
def test_symbol_states_its_recent_accuracy_beside_a_signal_of_any(
    rows: int, accuracy: float | None, shown: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out, "width", 200)
    bar_time = NOW - timedelta(minutes=2)
    last = LastAnswer(bar_time, "up", 0.7, signal=True, refused_by=[], recent_rows=rows, recent_accuracy=accuracy)
    symbol = SymbolStatus("ABC", bar_time, "ABC@1", NOW - timedelta(days=2), last)
    show_status(InstallationStatus(as_of=NOW, symbols=[symbol]))
    row = next(line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("ABC"))
    assert shown in " ".join(row.split())


def test_settings_at_their_defaults_are_counted_not_listed(capsys: pytest.CaptureFixture) -> None:
    rows = [
        SettingRow(name="HYBRID_ML_SYMBOLS", shown="ABC", origin="environment"),
        SettingRow(name="HYBRID_ML_MODELS_DIR", shown="models", origin=DEFAULT),
    ]
    show_status(InstallationStatus(as_of=NOW, settings=rows))
    text = capsys.readouterr().out
    assert "HYBRID_ML_SYMBOLS" in text
    assert "HYBRID_ML_MODELS_DIR" not in text
    assert "1 setting at the default; --json shows every one" in text
