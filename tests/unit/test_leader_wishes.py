"""Leaders as people write them."""

import pytest

from hybrid_ml.config.leaders import CHOSEN, LeaderWishes, parse_leaders
from hybrid_ml.config.settings import load_settings
from hybrid_ml.errors import BadInput
from hybrid_ml.pipeline.run import leader_wishes, leading
from hybrid_ml.schemas.requests import AnalysisRequest, TrainingRequest


@pytest.mark.parametrize(
    ("text", "symbol", "leaders"),
    [
        ("", "EOSUSD", None),
        ("auto", "EOSUSD", None),
        ("none", "EOSUSD", ()),
        ("BTCUSD, ETHUSD", "EOSUSD", ("BTCUSD", "ETHUSD")),
        ("BTCUSD,ETHUSD", "BTCUSD", ("ETHUSD",)),
        ("BTCUSD,BTCUSD", "EOSUSD", ("BTCUSD",)),
        ("EOSUSD:BTCUSD,ETHUSD", "EOSUSD", ("BTCUSD", "ETHUSD")),
        ("EOSUSD:BTCUSD", "ADAUSD", None),
        ("EOSUSD:BTCUSD; ADAUSD:none; ETHUSD", "ADAUSD", ()),
        ("EOSUSD:BTCUSD; ADAUSD:none; ETHUSD", "XRPUSD", ("ETHUSD",)),
        ("EOSUSD:auto;BTCUSD", "EOSUSD", None),
        ("BTC/USDT:USDT:ETHUSD", "BTC/USDT:USDT", ("ETHUSD",)),
    ],
)
def test_leaders_of_a_symbol(text: str, symbol: str, leaders: tuple[str, ...] | None) -> None:
    assert parse_leaders(text).of(symbol) == leaders


@pytest.mark.parametrize("text", [":BTCUSD", "auto,BTCUSD", "EOSUSD:none,BTCUSD", "A,B,C,D"])
def test_unclear_leaders_are_refused_with_the_part(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=text.rsplit(":", maxsplit=1)[-1] if text[0] != ":" else "no symbol"):
        parse_leaders(text)
    with pytest.raises(ValueError, match="leader"):
        TrainingRequest(leaders=text)
    monkeypatch.setenv("HYBRID_ML_LEADERS", text)
    with pytest.raises(BadInput, match="HYBRID_ML_LEADERS"):
        load_settings()


def test_request_takes_precedence_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert leader_wishes(TrainingRequest(), load_settings()) == CHOSEN
    monkeypatch.setenv("HYBRID_ML_LEADERS", "BTCUSD")
    settings = load_settings()
    assert leader_wishes(TrainingRequest(), settings) == LeaderWishes(("BTCUSD",))
    assert leader_wishes(AnalysisRequest(), settings) == LeaderWishes(("BTCUSD",))
    assert leader_wishes(TrainingRequest(leaders="none"), settings) == LeaderWishes(())


def test_leading_symbols_are_named_once() -> None:
    assert leading({"A": ("X", "Y"), "B": ("Y",), "C": ()}) == ["X", "Y"]
