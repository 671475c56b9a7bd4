"""A day of analyses: 144 cycles of fine-tuning leave the model no larger, and its answers no worse.

Measured: the flows themselves without Prefect's engine, on one symbol: a weekly training at `--start`
and then an analysis every ten minutes for `--days`, each fine-tuning the model the one before saved.
Beside each answer the base alone answers the same question, and ten minutes later both are judged by
what happened. How to read it: the size is that of the serving file, which must stay within 1.1 times
its first; log loss (nats, less is better) is over the answers themselves, one every ten minutes, so
their outcomes do not overlap; the class prior stands beside it.
"""

from datetime import UTC, datetime, timedelta

import numpy as np
from analysis import without_prefect
from common import Report, TemporaryStore, cross_check, options, show_progress, some_bars
from sqlalchemy import text

import flows.weekly_training
from hybrid_ml.learning.comparison import standard_error_of_mean
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.rows import Rows, make_window
from hybrid_ml.market.bars import MAX_GAP_MINUTES
from hybrid_ml.market.labels import CLASSES
from hybrid_ml.registry.access import load_saved_model
from hybrid_ml.schemas.reports import Analysis
from hybrid_ml.schemas.requests import TrainingRequest
from hybrid_ml.store.bars import store_bars
from hybrid_ml.store.model_files import MODEL_FILE

SYMBOL = "BENCH"
CYCLE = timedelta(minutes=10)
GROWTH = 1.1


def judged(answer: Analysis, model: HybridModel, rows: Rows) -> list[tuple[float, float, float]]:
    """Log losses of the answer, of its base alone, and of the class prior; nothing where no outcome is known."""
    place = rows.times.searchsorted(answer.bar_time)
    request = rows.take(slice(place, place + 1))
    outcome = int(request.labels(model.base.label_threshold)[0])
    if outcome < 0:
        return []
    alone = model.base_probabilities(request.features)[0, outcome]
    probabilities = (answer.probabilities[CLASSES[outcome]], alone, model.base.class_prior[outcome])
    return [tuple(-np.log(probabilities))]


def main() -> None:
    parser = options(__doc__, smallest={"start": "2024-11-30", "days": 0.06, "bars": 6_500})
    parser.add_argument("--bars", type=int, default=120_000)
    parser.add_argument("--start", default="2024-11-24", help="the model is trained at the beginning of this day")
    parser.add_argument("--days", type=float, default=1)
    parser.add_argument("--week", type=int, default=0, help="week of progressive scaling to train")
    chosen = parser.parse_args()
    start = datetime.fromisoformat(chosen.start).replace(tzinfo=UTC)
    cycles = round(chosen.days * 144)
    end = start + timedelta(days=chosen.days, hours=1)
    bars = some_bars(10**9 if chosen.csv_path else chosen.bars, chosen.csv_path)
    bars = bars[bars["time"] < end].tail(chosen.bars).reset_index(drop=True)
    store = TemporaryStore.make()
    engine = store.use()
    store_bars(engine, SYMBOL, bars)
    window = make_window(bars, MAX_GAP_MINUTES)
    analyse = without_prefect()
    vars(flows.weekly_training)["report_training"] = lambda *_: None
    show_progress("training the base")
    trained = flows.weekly_training.weekly_training.fn(TrainingRequest(symbols=[SYMBOL], as_of=start, week=chosen.week))
    base = load_saved_model(SYMBOL, start).base
    cross_check(trained.trainings[0].promoted, "the first model serves")

    file = store.folder / "models" / MODEL_FILE
    first_bytes, most_bytes, fell_back = file.stat().st_size, 0, 0
    losses: list[tuple[float, float, float]] = []
    for cycle in range(1, cycles + 1):
        if cycle % 20 == 1:
            show_progress(f"analysis {cycle} of {cycles}")
        now = start + cycle * CYCLE
        answer, _ = analyse(now, False)
        fell_back += answer.fell_back
        most_bytes = max(most_bytes, file.stat().st_size)
        losses += judged(answer, load_saved_model(SYMBOL, now), window.rows)
    serving, alone, prior = np.array(losses).T
    gain = alone - serving
    trees = len(load_saved_model(SYMBOL, end).base.leaf_values)
    with engine.connect() as connection:
        adapters = connection.execute(text("SELECT count(*) FROM model_versions WHERE kind = 'adapter'")).scalar_one()
    report = Report(f"day: {cycles} analyses from {start:%Y-%m-%d} on, base of {base.rows:,} rows")
    report.add("serving file at the start", first_bytes, "bytes")
    report.add("largest serving file", most_bytes, "bytes")
    report.add("ratio", most_bytes / first_bytes, "x", GROWTH)
    report.add("trees", trees, "")
    report.add("adapters tried", adapters, "")
    report.add("fell back to training from scratch", fell_back, "")
    report.add("answers with an outcome", len(gain), "")
    for name, values in (("serving", serving), ("base", alone), ("prior", prior)):
        report.add(f"log loss, {name}", float(values.mean()), "nats")
    report.add("gain over the base", float(gain.mean()), "nats")
    report.add("its standard error", standard_error_of_mean(gain, 6), "nats")
    report.add("ratio of log loss to the base's", float(serving.mean() / alone.mean()), "x", 1.0)
    report.show(as_json=chosen.json)


if __name__ == "__main__":
    main()
