"""Replay: cycles a second on one core, with fine-tuning in every cycle and in fast mode.

Measured: `Service.cycle` on one symbol after its first weekly training, without what a training from
scratch costs, in slices of a day that take turns. Floor: LightGBM alone looking up the leaves of the
ten new rows of each cycle. How to read it: 50 ms a cycle are 20 cycles a second; the ratio tells what
a cycle costs beside the ten rows that are new in it.
"""

from datetime import timedelta
from itertools import count
from unittest.mock import patch

from common import Report, cross_check, interleaved, options, some_bars

from hybrid_ml.market.bars import MAX_GAP_MINUTES
from hybrid_ml.replay.engine import Service, train
from hybrid_ml.replay.past import Past
from hybrid_ml.requests import AnalysisRequest

SYMBOL = "BENCH"
CYCLE = timedelta(minutes=10)
SLICE = 48
TARGET_MS = {"with fine-tuning": 50.0, "fast mode": 5.0}


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--slices", type=int, default=7, help="slices of eight hours of each kind")
    chosen = parser.parse_args()
    bars = some_bars(40_000, chosen.csv_path)
    judged = chosen.slices * SLICE * 10
    start = bars["time"].iloc[-judged - 10].floor("10min").to_pydatetime()
    past = Past(bars, MAX_GAP_MINUTES)
    trained = train(past, SYMBOL, "base", start, 0, 23_000, 2)
    services, moments, answered = {}, {}, dict.fromkeys(TARGET_MS, 0)
    for name in TARGET_MS:
        request = AnalysisRequest(symbols=[SYMBOL], fast_mode=name == "fast mode", disable_sleep_window=True)
        services[name] = Service(SYMBOL, request, lambda _: (0, 23_000), 1)
        services[name].weekly(trained)
        moments[name] = count()

    def cycles(name: str) -> None:
        for _ in range(SLICE):
            row = services[name].cycle(past, start + next(moments[name]) * CYCLE)
            answered[name] += row is not None

    place = count(len(past.rows) - judged, 10)

    def floor() -> None:
        for _ in range(SLICE):
            first = next(place)
            trained.model.leaves(past.rows.features[first : first + 10])

    with patch.object(Service, "_may_train", lambda *_: False):
        work = {**{name: lambda name=name: cycles(name) for name in TARGET_MS}, "ten rows, LightGBM alone": floor}
        median = interleaved(work, chosen.slices)
    cross_check(min(answered.values()) > 0.9 * chosen.slices * SLICE, "nearly every cycle was answered")
    report = Report(f"replay: {chosen.slices} times {SLICE} cycles of each kind, one thread")
    for name, target in TARGET_MS.items():
        report.add(f"a cycle {name}", median[name] / SLICE * 1000, "ms", target)
    report.add("ten rows, LightGBM alone", median["ten rows, LightGBM alone"] / SLICE * 1000, "ms")
    report.add("ratio, fast mode", median["fast mode"] / median["ten rows, LightGBM alone"], "x")
    report.show(as_json=chosen.json)


if __name__ == "__main__":
    main()
