"""Defaults of a run's context, and the limit of signals per run."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_ml.config.settings import Settings
from hybrid_ml.errors import BadInput, DataUnavailable
from hybrid_ml.learning.fallback import RecentRecord
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.rows import Window
from hybrid_ml.pipeline.proposals import ModelInfo, Proposal, limit_signals
from hybrid_ml.pipeline.reports import prediction_row
from hybrid_ml.pipeline.run import Run, format_ended, make_run
from hybrid_ml.schemas.requests import AnalysisRequest, Request, TrainingRequest
from hybrid_ml.signals.gates import Answer, GateContext, evaluate_gates
from hybrid_ml.signals.penalty import NO_PENALTY
from hybrid_ml.signals.presets import PRESETS

NOW = datetime(2024, 6, 1, 10, 20, 30, tzinfo=UTC)


def settings(symbols: str = "", models: str = "/somewhere/models", threads: int = 3, gap: int = 30) -> Settings:
    return Settings(
        hybrid_ml_symbols=symbols,
        hybrid_ml_models_dir=Path(models),
        hybrid_ml_num_threads=threads,
        hybrid_ml_max_gap_minutes=gap,
    )


def open_with(request: Request, configured: str = "", with_bars: tuple[str, ...] = ()) -> Run:
    return make_run(request, settings(configured), list(with_bars), NOW)


def test_run_without_as_of_uses_the_current_time() -> None:
    assert open_with(Request(symbols="A")).as_of == NOW


def test_run_accepts_past_times_and_refuses_future_ones() -> None:
    past = datetime(2018, 6, 1, 10, 20, tzinfo=UTC)
    assert open_with(Request(symbols="A", as_of=past)).as_of == past
    assert open_with(Request(symbols="A", as_of=NOW)).as_of == NOW
    with pytest.raises(BadInput, match=r"--as_of 2024-06-01T10:21 is in the future \(it is 2024-06-01T10:20 UTC\)"):
        open_with(Request(symbols="A", as_of=NOW + timedelta(seconds=30)))


def test_as_of_of_a_run_is_in_utc() -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    run = make_run(Request(symbols="A"), settings(), [], NOW.astimezone(india))
    assert (run.as_of, run.as_of.utcoffset()) == (NOW, timedelta(0))


@pytest.mark.parametrize(
    ("requested", "configured", "with_bars", "symbols", "default"),
    [
        ("B,A", "C", ("D",), ["B", "A"], "C"),
        ("", "C,D", ("A", "B"), ["C", "D"], "C"),
        ("", " C , ,D,", ("A",), ["C", "D"], "C"),
        ("", "", ("A", "B"), ["A", "B"], "A"),
        ("B", "", ("A", "B"), ["B"], "A"),
        ("B", "", (), ["B"], "B"),
        ("", "", ("DEMO", "X"), ["X"], "X"),
        ("DEMO", "", ("DEMO", "X"), ["DEMO"], "X"),
        ("", "", ("DEMO",), ["DEMO"], "DEMO"),
    ],
)
def test_symbols_are_requested_configured_or_all_with_real_bars(
    requested: str, configured: str, with_bars: tuple[str, ...], symbols: list[str], default: str
) -> None:
    run = open_with(Request(symbols=requested or []), configured, with_bars)
    assert (run.symbols, run.default_symbol) == (symbols, default)


WEEK_AGO = NOW - timedelta(days=7)


def with_newest(request: Request, configured: str = "", **newest: datetime) -> Run:
    """A run where A has a feed, and B and C have the bars of `newest` as their last ones."""
    return make_run(request, settings(configured), ["A", "B", "C"], NOW, newest)


def test_symbol_that_has_ended_is_left_out_and_named() -> None:
    run = with_newest(Request(), B=WEEK_AGO - timedelta(minutes=1), C=WEEK_AGO)
    assert run.symbols == ["A", "C"]
    assert run.default_symbol == "A"
    assert format_ended(run.ended) == "B (last bar 2024-05-25)"


def test_symbol_that_ended_is_used_where_it_is_named_or_nothing_else_is_there() -> None:
    past = NOW - timedelta(days=900)
    named = with_newest(Request(symbols="B"), B=past)
    assert (named.symbols, named.ended) == (["B"], {})
    configured = with_newest(Request(), "B,A", B=past)
    assert (configured.symbols, configured.ended) == (["B", "A"], {})
    everything = with_newest(Request(), A=past, B=past, C=past)
    assert (everything.symbols, everything.ended) == (["A", "B", "C"], {})


def test_symbol_that_had_not_ended_at_the_moment_of_the_run_is_used() -> None:
    ended = NOW - timedelta(days=30)
    assert with_newest(Request(as_of=ended), B=ended).symbols == ["A", "B", "C"]
    assert with_newest(Request(as_of=ended + timedelta(days=8)), B=ended).symbols == ["A", "C"]


def test_first_symbol_keeps_its_folder_when_it_has_ended() -> None:
    run = with_newest(Request(), A=NOW - timedelta(days=900))
    assert (run.symbols, run.default_symbol) == (["B", "C"], "A")


def test_run_without_any_symbol_is_refused_with_remedy() -> None:
    with pytest.raises(DataUnavailable, match="holds no bars; `hybrid-ml symbols add"):
        open_with(Request())


def test_simulated_source_has_the_symbol_demo_only() -> None:
    assert open_with(Request(source="demo"), "C", ("A",)).symbols == ["DEMO"]
    assert open_with(Request(source="demo", symbols="DEMO")).symbols == ["DEMO"]
    with pytest.raises(BadInput, match="--source demo simulates DEMO only, not A, B"):
        open_with(Request(source="demo", symbols="A,B"))


def test_csv_source_requires_exactly_one_symbol() -> None:
    csv = {"source": "csv", "csv_path": "bars.csv"}
    assert open_with(Request(**csv, symbols="A")).symbols == ["A"]
    assert open_with(Request(**csv), "C,D", ("A",)).symbols == ["C"]
    for request in (Request(**csv), Request(**csv, symbols="A,B")):
        with pytest.raises(BadInput, match=r"--csv_path bars\.csv holds one symbol; name it with --symbol NAME"):
            open_with(request, "", ("A",))


def test_run_takes_other_values_from_request_and_settings() -> None:
    request = TrainingRequest(source="csv", csv_path="bars.csv", symbols="A")
    run = make_run(request, settings("B", "/elsewhere", threads=2, gap=5), [], NOW)
    assert (run.source, run.csv_path) == ("csv", Path("bars.csv"))
    assert (run.models_dir, run.max_gap_minutes, run.training_threads) == (Path("/elsewhere"), 5, 2)


def test_default_symbol_uses_the_models_folder_itself() -> None:
    run = open_with(Request(symbols="A,B/C"), "A")
    assert run.folder("A") == Path("/somewhere/models")
    assert run.folder("B/C") == Path("/somewhere/models/B%2FC")


def proposal(symbol: str, answer: Answer, model: HybridModel, window: Window, accuracy: float = 0.6) -> Proposal:
    recent = RecentRecord(200, accuracy, 0.4)
    context = GateContext(PRESETS["balanced"], NO_PENALTY, 1.0, 15.0)
    verdicts = evaluate_gates(answer, context)
    return Proposal(
        symbol,
        window.bar_time,
        window.close,
        window.grid[["close"]].tail(120),
        ModelInfo.of(model),
        recent,
        None,
        answer,
        verdicts,
        fallback=None,
        stale=False,
    )


def answer_with(confidence: float) -> Answer:
    return Answer((1 - confidence) / 2, (1 - confidence) / 2, confidence)


def test_signals_with_highest_confidence_pass_and_others_are_refused(model: HybridModel, market: Window) -> None:
    confidences = {"A": 0.85, "B": 0.95, "C": 0.5, "D": 0.90, "E": 0.80}
    proposals = [proposal(symbol, answer_with(value), model, market) for symbol, value in confidences.items()]
    limited = limit_signals(proposals, 2)
    assert [p.symbol for p in limited] == list("ABCDE")
    assert [p.symbol for p in limited if p.signal] == ["B", "D"]
    ranks = {p.symbol: p.verdicts[-1].value for p in limited if p.verdicts[-1].gate == "max_signals"}
    assert ranks == {"B": 1, "D": 2, "A": 3, "E": 4}
    refused = next(p for p in limited if p.symbol == "C")
    assert [v.gate for v in refused.verdicts] == [v.gate for v in proposals[2].verdicts]


@given(confidences=st.lists(st.floats(0.4, 1.0), max_size=6), bound=st.integers(0, 7))
def test_refused_signals_have_no_higher_confidence_than_passed_ones(
    model: HybridModel, market: Window, confidences: list[float], bound: int
) -> None:
    proposals = [proposal(str(number), answer_with(value), model, market) for number, value in enumerate(confidences)]
    before = [p for p in proposals if p.signal]
    limited = limit_signals(proposals, bound)
    passed = [p.answer.confidence for p in limited if p.signal]
    refused_values = [p.answer.confidence for p, q in zip(limited, proposals, strict=True) if q.signal and not p.signal]
    assert len(passed) == min(bound, len(before))
    assert len(passed) + len(refused_values) == len(before)
    if passed and refused_values:
        assert min(passed) >= max(refused_values)


def test_max_signals_0_refuses_all_signals(model: HybridModel, market: Window) -> None:
    limited = limit_signals(
        [proposal("A", answer_with(0.99), model, market)], AnalysisRequest(max_signals=0).bounds.max_signals
    )
    assert not limited[0].signal


def test_limiting_does_not_change_its_input(model: HybridModel, market: Window) -> None:
    original = proposal("A", answer_with(0.99), model, market)
    count = len(original.verdicts)
    limit_signals([original], 0)
    assert len(original.verdicts) == count
    assert original.signal
    assert limit_signals([], 3) == []


def test_proposal_of_a_model_with_low_recent_accuracy_is_a_signal(model: HybridModel, market: Window) -> None:
    poor = proposal("A", answer_with(0.99), model, market, accuracy=0.3)
    assert poor.signal
    row = prediction_row(poor, make_run(Request(), settings("A"), [], NOW), "balanced")
    assert (row.signal, row.recent_rows, row.recent_accuracy) == (True, 200, 0.3)
