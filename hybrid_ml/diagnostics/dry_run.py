"""The hybrid job once, in a scratch folder: simulated bars, a database that is dropped afterwards."""

from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import create_engine

from hybrid_ml.config.settings import MAX_GAP_MINUTES
from hybrid_ml.learning.fine_tuning import MAXIMUM_FINE_TUNE_ROWS, fine_tune
from hybrid_ml.learning.promotion import decide
from hybrid_ml.learning.rows import make_window
from hybrid_ml.learning.scaling import MINIMUM_TRAINING_ROWS
from hybrid_ml.learning.training import train_base
from hybrid_ml.market.bars import clean_bars
from hybrid_ml.market.simulation import SIMULATED_SYMBOL, simulate_bars
from hybrid_ml.schemas.requests import AnalysisRequest
from hybrid_ml.signals.gates import Answer, GateContext, evaluate_gates, refused_by
from hybrid_ml.signals.penalty import NO_PENALTY
from hybrid_ml.store import model_registry as registry
from hybrid_ml.store.bars import recent_bars, store_bars
from hybrid_ml.store.embedded import start_embedded
from hybrid_ml.store.engine import migrate
from hybrid_ml.store.model_files import read_model, write_model

AS_OF = datetime(2024, 2, 1, tzinfo=UTC)
BARS = 5_000


def dry_run(folder: Path) -> str:
    """Load, train, save, load again, validate, fine-tune, predict and evaluate in `folder`; returns the result as text.

    Touches nothing outside `folder`. Errors are raised.
    """
    engine = create_engine(start_embedded(folder))
    try:
        migrate(engine)
        store_bars(engine, SIMULATED_SYMBOL, clean_bars(simulate_bars(AS_OF, bars=BARS)).bars)
        with engine.begin() as connection:
            window = make_window(recent_bars(connection, SIMULATED_SYMBOL, AS_OF, BARS), MAX_GAP_MINUTES)
            trained, hold_out = train_base(
                window.rows,
                symbol=SIMULATED_SYMBOL,
                kind="base",
                row_limit=MINIMUM_TRAINING_ROWS,
                week=0,
                as_of=AS_OF,
                num_threads=1,
            )
            registry.save_base(connection, trained, decide(trained, None, hold_out))
            serving = registry.find_serving(connection, SIMULATED_SYMBOL, AS_OF)
        if serving is None:
            raise RuntimeError("the model just saved is not in use")
        write_model(folder, trained)
        model = read_model(folder, serving.file, SIMULATED_SYMBOL)
        model = model.with_adapter(fine_tune(model, window.rows, count=MAXIMUM_FINE_TUNE_ROWS, as_of=AS_OF).adapter)
        answer = Answer.of(model.probabilities_of(window.rows.latest())[0])
        context = GateContext(AnalysisRequest().bounds, NO_PENALTY, 0.0, 15.0)
        refusals = refused_by(evaluate_gates(answer, context))
        outcome = f"refused by {', '.join(refusals)}" if refusals else "signal"
        return f"{BARS:,} simulated bars, {trained.base.rows:,} rows trained, answer {answer.direction}, {outcome}"
    finally:
        engine.dispose()
