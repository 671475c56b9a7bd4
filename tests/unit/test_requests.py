"""Requests of runs: accepted and refused values."""

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hybrid_ml.schemas.backfill_request import BackfillRequest
from hybrid_ml.schemas.requests import AnalysisRequest, ReplayRequest, Request, ReviewRequest, TrainingRequest
from hybrid_ml.signals.presets import PRESETS, Bounds

TEN_TWENTY = datetime(2018, 6, 1, 10, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        "2018-06-01T10:20",
        "2018-06-01 10:20",
        "2018-06-01T10:20:00Z",
        " 2018-06-01T15:50+05:30 ",
        "2018-06-01T03:20:00-07:00",
        "20180601T102000",
        datetime(2018, 6, 1, 10, 20),  # noqa: DTZ001  # a naive time on purpose
        datetime(2018, 6, 1, 12, 20, tzinfo=timezone(timedelta(hours=2))),
        TEN_TWENTY,
    ],
)
def test_time_without_zone_is_utc_and_others_are_converted(value: str | datetime) -> None:
    as_of = Request(as_of=value).as_of
    assert as_of == TEN_TWENTY
    assert as_of is not None
    assert as_of.tzinfo is UTC


def test_date_is_its_midnight_and_missing_time_is_none() -> None:
    assert Request(as_of="2018-06-01").as_of == datetime(2018, 6, 1, tzinfo=UTC)
    assert Request().as_of is None
    assert Request(as_of=None).as_of is None


@pytest.mark.parametrize(
    "number",
    [0, 10, 1527848400, 1527848400.0, 1527848400000, -5, True, "0", "10", "2018", "20180601", "1527848400",
     "1527848400.5", "1527848400000", "1.5", "-5", "+7", "1 2"],
)  # fmt: skip
def test_number_is_refused_as_time(number: Any) -> None:
    with pytest.raises(ValidationError, match=r"is no time; write it like 2018-06-01T10:20 \(UTC\)"):
        Request(as_of=number)


@pytest.mark.parametrize("text", ["", "now", "yesterday", "10:20", "2018-13-01", "2018-06-01T25:00", "01.06.2018"])
def test_invalid_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValidationError, match="is no time; write it like"):
        Request(as_of=text)


@pytest.mark.parametrize(
    ("value", "symbols"),
    [
        ("BTCUSD", ["BTCUSD"]),
        ("BTCUSD,ETHUSD", ["BTCUSD", "ETHUSD"]),
        (" BTCUSD , ETHUSD ,BTCUSD", ["BTCUSD", "ETHUSD"]),
        (["ETHUSD", " BTCUSD", "ETHUSD "], ["ETHUSD", "BTCUSD"]),
        (("A", "a"), ["A", "a"]),
        ("NIFTY 50,EUR/USD,^GSPC", ["NIFTY 50", "EUR/USD", "^GSPC"]),
        ("x" * 64, ["x" * 64]),
        ([], []),
    ],
)
def test_symbols_are_split_stripped_and_deduplicated_in_order(value: Any, symbols: list[str]) -> None:
    assert Request(symbols=value).symbols == symbols


@pytest.mark.parametrize("bad", ["", " ", "A,,B", "A,", "x" * 65, "A@B", "A\nB", "A\x00", "A\tB", ["A,B"], [""]])
def test_invalid_symbol_is_refused(bad: Any) -> None:
    with pytest.raises(ValidationError, match="cannot name a symbol: 1 to 64 characters"):
        Request(symbols=bad)


@pytest.mark.parametrize("kind", [Request, TrainingRequest, AnalysisRequest])
def test_symbol_is_an_alias_of_symbols(kind: type[Request]) -> None:
    assert kind.model_validate({"symbol": "A, B"}).symbols == kind.model_validate({"symbols": "A,B"}).symbols


def test_validate_is_an_alias_of_full_report() -> None:
    assert TrainingRequest.model_validate({"validate": True}).full_report
    assert TrainingRequest.model_validate({"full_report": True}).full_report
    assert not TrainingRequest().full_report


def test_default_source_is_the_database() -> None:
    assert (Request().source, Request().csv_path, Request().symbols) == ("db", None, [])


def test_csv_source_and_csv_path_require_each_other() -> None:
    assert Request(source="csv", csv_path="bars.csv").csv_path == Path("bars.csv")
    with pytest.raises(ValidationError, match="--source csv needs --csv_path FILE"):
        Request(source="csv")
    for source in ("db", "demo"):
        with pytest.raises(ValidationError, match=f"goes with --source csv, not --source {source}"):
            Request(source=source, csv_path="bars.csv")
    with pytest.raises(ValidationError, match="goes with --source csv"):
        AnalysisRequest(csv_path="bars.csv")


@pytest.mark.parametrize(
    ("kind", "flags"),
    [
        (TrainingRequest, {"limit": 5_000, "progressive": True}),
        (TrainingRequest, {"limit": 5_000, "week": 0}),
        (TrainingRequest, {"limit": 1_999}),
        (TrainingRequest, {"limit": 2_000_001}),
        (TrainingRequest, {"week": -1}),
        (TrainingRequest, {"week": 521}),
        (TrainingRequest, {"fast_mode": True}),
        (AnalysisRequest, {"limit": 5_000}),
        (AnalysisRequest, {"preset": "reckless"}),
        (AnalysisRequest, {"min_confidence": 1.01}),
        (AnalysisRequest, {"min_confidence": -0.01}),
        (AnalysisRequest, {"min_confidence": float("nan")}),
        (AnalysisRequest, {"min_prob_margin": 2}),
        (AnalysisRequest, {"max_entropy": 1.2}),
        (AnalysisRequest, {"max_signals": -1}),
        (AnalysisRequest, {"fine_tune_rows": 499}),
        (AnalysisRequest, {"fine_tune_rows": 1_001}),
        (AnalysisRequest, {"max_bar_age_minutes": 0}),
        (Request, {"source": "web"}),
        (Request, {"unknown": "x"}),
        (BackfillRequest, {"source": "demo", "csv_path": "bars.csv"}),
        (BackfillRequest, {"source": "csv", "symbol": "A"}),
        (BackfillRequest, {"source": "csv", "csv_path": "bars.csv"}),
        (BackfillRequest, {"csv_path": "bars.csv", "symbol": "A,B"}),
        (BackfillRequest, {"csv_path": "bars.csv", "symbol": ""}),
        (BackfillRequest, {"source": "demo", "bars": 0}),
        (BackfillRequest, {"source": "demo", "seed": -1}),
        (BackfillRequest, {"source": "demo", "until": "1527848400"}),
        (BackfillRequest, {"source": "db"}),
        (BackfillRequest, {"csv_path": "bars.csv", "symbol": "A", "timezone": "Asia/Nowhere"}),
        (BackfillRequest, {"csv_path": "bars.csv", "symbol": "A", "timezone": "../etc"}),
        (BackfillRequest, {"csv_path": "bars.csv", "symbol": "A", "columns": "time,open,high,low"}),
        (BackfillRequest, {"source": "demo", "symbols": "BTCUSDT"}),
        (BackfillRequest, {"source": "exchange", "csv_path": "bars.csv"}),
        (BackfillRequest, {"source": "exchange", "exchange": "Kraken!"}),
        (BackfillRequest, {"source": "exchange", "exchange": "k" * 41}),
        (BackfillRequest, {"source": "exchange", "days": 0}),
    ],
)
def test_invalid_flags_are_refused(kind: type, flags: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as raised:
        kind.model_validate(flags)
    assert raised.value.error_count() == 1


@pytest.mark.parametrize(
    "flags",
    [
        {"limit": 2_000},
        {"limit": 2_000_000},
        {"week": 0, "progressive": True},
        {"week": 520},
    ],
)
def test_row_limits_at_their_bounds_are_accepted(flags: dict[str, Any]) -> None:
    request = TrainingRequest.model_validate(flags)
    assert {name: getattr(request, name) for name in flags} == flags


def test_conflicting_row_limits_are_both_named() -> None:
    with pytest.raises(ValidationError, match="--limit 5000 and --week 2 exclude each other"):
        TrainingRequest(limit=5_000, week=2)
    with pytest.raises(ValidationError, match="--limit 5000 and --progressive exclude each other"):
        TrainingRequest(limit=5_000, progressive=True)


@pytest.mark.parametrize("preset", PRESETS)
def test_bounds_default_to_the_preset(preset: str) -> None:
    assert AnalysisRequest(preset=preset).bounds == PRESETS[preset]  # type: ignore[index]


def test_own_bounds_replace_single_bounds_of_the_preset() -> None:
    balanced = AnalysisRequest().bounds
    assert AnalysisRequest(max_entropy=1.0).bounds == Bounds(
        balanced.min_confidence, balanced.min_prob_margin, 1.0, balanced.max_signals
    )
    everything = AnalysisRequest(min_confidence=0, min_prob_margin=0, max_entropy=0, max_signals=0).bounds
    assert everything == Bounds(0.0, 0.0, 0.0, 0)


def test_request_is_immutable() -> None:
    request = AnalysisRequest(symbols="A")
    with pytest.raises(ValidationError, match="frozen"):
        request.fast_mode = True  # type: ignore[misc]


@pytest.mark.parametrize(
    "request_",
    [
        AnalysisRequest(symbols="A,B", as_of="2018-06-01T10:20", min_confidence=0.7),
        TrainingRequest(source="csv", csv_path="bars.csv", symbols="A", limit=5_000, full_report=True),
        BackfillRequest(source="demo", until="2024-06-01"),
        BackfillRequest(source="exchange", exchange="binanceus", symbols="BTCUSDT,ETHUSDT", days=30),
        BackfillRequest(source="exchange", exchange="kraken", symbols="BTC/USD", days=30),
    ],
)
def test_request_is_restored_from_json(request_: Any) -> None:
    dumped = json.loads(request_.model_dump_json())
    assert type(request_).model_validate(dumped) == request_


def test_backfill_of_the_simulated_market_has_defaults() -> None:
    request = BackfillRequest(source="demo")
    assert (request.bars, request.seed, request.sessions, request.until) == (30_000, 7, False, None)
    assert BackfillRequest(source="demo", until="2024-06-01T12:00").until == datetime(2024, 6, 1, 12, tzinfo=UTC)


FORMS = [TrainingRequest, AnalysisRequest, ReplayRequest, ReviewRequest, BackfillRequest]


@pytest.mark.parametrize("kind", FORMS)
def test_form_fields_have_title_description_type_and_bounds(kind: Any) -> None:
    for name, field in kind.model_json_schema()["properties"].items():
        assert field["title"], name
        assert field["description"], name
        assert "--" not in field["description"], f"{name} names flags, which a form does not have"
        assert "type" in field, f"{name} would be a choice between input types"
        if field["type"] in ("number", "integer"):
            assert {"minimum", "exclusiveMinimum"} & set(field), f"{name} has no lower bound"
            assert "maximum" in field, f"{name} has no upper bound"


@pytest.mark.parametrize("kind", FORMS)
def test_form_defaults_equal_request_defaults(kind: Any) -> None:
    schema = kind.model_json_schema()
    for name, field in schema["properties"].items():
        model_field = kind.model_fields[name]
        if model_field.is_required() or model_field.default is None:
            assert "default" not in field
        else:
            assert field["default"] == model_field.default
    assert schema.get("required", []) == [name for name, one in kind.model_fields.items() if one.is_required()]


def test_default_quiet_hours_are_the_night_in_india() -> None:
    assert str(AnalysisRequest().quiet_hours) == "01:00-09:00 Asia/Kolkata"
    request = AnalysisRequest(sleep_window="22:00-06:30", sleep_timezone="America/New_York", disable_sleep_window=True)
    assert str(request.quiet_hours) == "22:00-06:30 America/New_York"


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ({"sleep_window": "9-17"}, "--sleep_window '9-17' is no window"),
        ({"sleep_window": "09:00-09:00", "disable_sleep_window": True}, "--disable_sleep_window"),
        ({"sleep_timezone": "Kolkata"}, "did you mean Asia/Kolkata"),
    ],
)
def test_invalid_quiet_hours_are_refused(flags: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        AnalysisRequest(**flags)


@pytest.mark.parametrize("year", ["0001", "1899", "2201", "9999"])
def test_year_out_of_range_is_refused_in_every_request(year: str) -> None:
    message = rf"{year}-01-05: there are no bars of that year; choose one of 1900 to 2200"
    with pytest.raises(ValidationError, match=message):
        Request(as_of=f"{year}-01-05")
    with pytest.raises(ValidationError, match=message):
        ReviewRequest(as_of=f"{year}-01-05")
    with pytest.raises(ValidationError, match=message):
        ReplayRequest(start=f"{year}-01-05")
    with pytest.raises(ValidationError, match=message):
        BackfillRequest(source="demo", until=f"{year}-01-05")


def test_review_has_the_quiet_hours_of_an_analysis() -> None:
    window = {"sleep_window": "22:00-06:00", "sleep_timezone": "Europe/Berlin"}
    assert ReviewRequest(**window).quiet_hours == AnalysisRequest(**window).quiet_hours
    with pytest.raises(ValidationError, match="is no window; write it HH:MM-HH:MM"):
        ReviewRequest(sleep_window="25:00-06:00")
