"""Settling what a request leaves open, and letting only the surest signals of a run leave."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_ml.config.settings import Settings
from hybrid_ml.errors import BadInput, DataUnavailable
from hybrid_ml.learning.evaluation import RecentRecord
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.rows import Window
from hybrid_ml.pipeline.context import ModelInfo, Proposal, Run, limit_signals, open_run
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


def opened(request: Request, configured: str = "", with_bars: tuple[str, ...] = ()) -> Run:
    return open_run(request, settings(configured), list(with_bars), NOW)


def test_a_run_without_a_moment_judges_the_present() -> None:
    assert opened(Request(symbols="A")).as_of == NOW


def test_a_run_may_judge_the_past_up_to_now_but_not_the_future() -> None:
    past = datetime(2018, 6, 1, 10, 20, tzinfo=UTC)
    assert opened(Request(symbols="A", as_of=past)).as_of == past
    assert opened(Request(symbols="A", as_of=NOW)).as_of == NOW
    with pytest.raises(BadInput, match=r"--as_of 2024-06-01T10:21 lies in the future \(it is 2024-06-01T10:20 UTC\)"):
        opened(Request(symbols="A", as_of=NOW + timedelta(seconds=30)))


def test_the_moment_of_a_run_is_in_utc() -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    run = open_run(Request(symbols="A"), settings(), [], NOW.astimezone(india))
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
def test_symbols_are_those_asked_for_else_configured_else_all_with_real_bars(
    requested: str, configured: str, with_bars: tuple[str, ...], symbols: list[str], default: str
) -> None:
    run = opened(Request(symbols=requested or []), configured, with_bars)
    assert (run.symbols, run.default_symbol) == (symbols, default)


def test_without_any_symbol_there_is_no_data_and_a_remedy() -> None:
    with pytest.raises(DataUnavailable, match="holds no bars; load some with `hybrid-ml backfill"):
        opened(Request())


def test_the_simulated_market_has_one_symbol() -> None:
    assert opened(Request(source="demo"), "C", ("A",)).symbols == ["DEMO"]
    assert opened(Request(source="demo", symbols="DEMO")).symbols == ["DEMO"]
    with pytest.raises(BadInput, match="--source demo simulates DEMO only, not A, B"):
        opened(Request(source="demo", symbols="A,B"))


def test_a_file_holds_one_symbol_which_must_be_known() -> None:
    csv = {"source": "csv", "csv_path": "bars.csv"}
    assert opened(Request(**csv, symbols="A")).symbols == ["A"]
    assert opened(Request(**csv), "C,D", ("A",)).symbols == ["C"]
    for request in (Request(**csv), Request(**csv, symbols="A,B")):
        with pytest.raises(BadInput, match=r"--csv_path bars\.csv holds one symbol; say which with --symbol NAME"):
            opened(request, "", ("A",))


def test_a_run_takes_the_rest_from_request_and_settings() -> None:
    request = TrainingRequest(source="csv", csv_path="bars.csv", symbols="A")
    run = open_run(request, settings("B", "/elsewhere", threads=2, gap=5), [], NOW)
    assert (run.source, run.csv_path) == ("csv", Path("bars.csv"))
    assert (run.models_dir, run.max_gap_minutes, run.training_threads) == (Path("/elsewhere"), 5, 2)


def test_the_default_symbols_model_lies_in_the_models_folder_itself() -> None:
    run = opened(Request(symbols="A,B/C"), "A")
    assert run.folder("A") == Path("/somewhere/models")
    assert run.folder("B/C") == Path("/somewhere/models/B%2FC")


def proposal(symbol: str, answer: Answer, model: HybridModel, window: Window, accuracy: float = 0.6) -> Proposal:
    recent = RecentRecord(200, accuracy, 0.4)
    around = GateContext(PRESETS["balanced"], NO_PENALTY, recent, 1.0, 15.0)
    verdicts = evaluate_gates(answer, around)
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


def sure(confidence: float) -> Answer:
    return Answer((1 - confidence) / 2, (1 - confidence) / 2, confidence)


def test_the_surest_signals_of_a_run_leave_and_the_others_say_why_not(model: HybridModel, market: Window) -> None:
    confidences = {"A": 0.85, "B": 0.95, "C": 0.5, "D": 0.90, "E": 0.80}
    proposals = [proposal(symbol, sure(value), model, market) for symbol, value in confidences.items()]
    limited = limit_signals(proposals, 2)
    assert [p.symbol for p in limited] == list("ABCDE")
    assert [p.symbol for p in limited if p.signal] == ["B", "D"]
    ranks = {p.symbol: p.verdicts[-1].value for p in limited if p.verdicts[-1].gate == "max_signals"}
    assert ranks == {"B": 1, "D": 2, "A": 3, "E": 4}
    refused = next(p for p in limited if p.symbol == "C")
    assert [v.gate for v in refused.verdicts] == [v.gate for v in proposals[2].verdicts]


@given(confidences=st.lists(st.floats(0.4, 1.0), max_size=6), bound=st.integers(0, 7))
def test_no_signal_that_is_held_back_is_surer_than_one_that_leaves(
    model: HybridModel, market: Window, confidences: list[float], bound: int
) -> None:
    proposals = [proposal(str(place), sure(value), model, market) for place, value in enumerate(confidences)]
    before = [p for p in proposals if p.signal]
    limited = limit_signals(proposals, bound)
    leaving = [p.answer.confidence for p in limited if p.signal]
    held = [p.answer.confidence for p, q in zip(limited, proposals, strict=True) if q.signal and not p.signal]
    assert len(leaving) == min(bound, len(before))
    assert len(leaving) + len(held) == len(before)
    if leaving and held:
        assert min(leaving) >= max(held)


def test_with_a_bound_of_none_no_signal_leaves(model: HybridModel, market: Window) -> None:
    limited = limit_signals(
        [proposal("A", sure(0.99), model, market)], AnalysisRequest(max_signals=0).bounds.max_signals
    )
    assert not limited[0].signal


def test_limiting_leaves_the_proposals_it_was_given_alone(model: HybridModel, market: Window) -> None:
    given_ = proposal("A", sure(0.99), model, market)
    count = len(given_.verdicts)
    limit_signals([given_], 0)
    assert len(given_.verdicts) == count
    assert given_.signal
    assert limit_signals([], 3) == []


@pytest.mark.parametrize(("accuracy", "degraded"), [(0.44, True), (0.45, False)])
def test_a_proposal_of_a_poor_model_is_for_the_record_only(
    model: HybridModel, market: Window, accuracy: float, degraded: bool
) -> None:
    made = proposal("A", sure(0.99), model, market, accuracy)
    assert (made.degraded, made.signal) == (degraded, not degraded)
