"""The request that adds symbols of an exchange."""

from pydantic import Field, model_validator

from hybrid_ml.schemas.backfill_request import EXCHANGE_SYMBOLS, BackfillRequest, Days, Exchange
from hybrid_ml.schemas.fields import BaseRequest, Symbols
from hybrid_ml.schemas.requests import AnalysisRequest, TrainingRequest


class AddSymbolsRequest(BaseRequest):
    """Load the history of symbols of an exchange, train a model for each, and answer for the first time."""

    exchange: Exchange = "binance"
    symbols: Symbols = Field(title="Symbols", description=EXCHANGE_SYMBOLS)
    days: Days = 90
    full_window: bool = Field(
        False,
        title="Full window",
        description="train on 80,000 rows at once, instead of 23,000 in the first week and more each week",
    )

    @model_validator(mode="after")
    def _has_symbols(self) -> "AddSymbolsRequest":
        if not self.symbols:
            raise ValueError("--symbols is empty; name at least one, such as BTCUSDT")
        return self

    @property
    def backfill(self) -> BackfillRequest:
        """The load of the history."""
        return BackfillRequest(source="exchange", exchange=self.exchange, symbols=self.symbols, days=self.days)

    def training(self, symbols: list[str]) -> TrainingRequest:
        """The first training of `symbols`."""
        from hybrid_ml.learning.scaling import FULL_ROW_LIMIT

        limits = {"limit": FULL_ROW_LIMIT} if self.full_window else {"progressive": True}
        return TrainingRequest(symbols=symbols, **limits)

    def analysis(self, symbols: list[str]) -> AnalysisRequest:
        """The first answers for `symbols`, also in quiet hours: whoever adds symbols is awake."""
        return AnalysisRequest(symbols=symbols, disable_sleep_window=True)
