"""How many bars a training loads."""

from pathlib import Path

from hybrid_ml.config.settings import Settings
from hybrid_ml.learning.windows import is_enough_to_train, training_bars
from hybrid_ml.pipeline.run import make_run
from hybrid_ml.schemas.requests import TrainingRequest
from tasks.load import load_training_window
from tests.simulated import bars_with_holes, moment

ROW_LIMIT = 2_000
MINUTES = 40_000


def test_training_loads_more_bars_when_short_sessions_leave_few_labels(tmp_path: Path) -> None:
    path = tmp_path / "bars.parquet"
    bars = bars_with_holes(MINUTES, dict.fromkeys(range(20, MINUTES, 60), 40))
    bars.to_parquet(path)
    request = TrainingRequest(source="csv", csv_path=path, symbols=["ABC"], as_of=moment(MINUTES))
    run = make_run(request, Settings(), [], moment(MINUTES))
    window = load_training_window.fn("ABC", run, ROW_LIMIT)
    assert is_enough_to_train(window, ROW_LIMIT)
    recorded = (~window.grid["carried"]).sum()
    assert recorded == 2 * training_bars(ROW_LIMIT) < len(bars)
