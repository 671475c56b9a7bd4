"""The heat map and the page of how complete bars are."""

from datetime import UTC, date, datetime, timedelta
from io import BytesIO

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from numpy.typing import NDArray

from hybrid_ml.reporting.artifact_images import MOST_SYMBOLS, completeness_picture
from hybrid_ml.reporting.charts import BLUE, ORANGE, PALE, completeness_chart
from hybrid_ml.reporting.data_artifact import data_page, data_rows, incomplete, percent
from hybrid_ml.schemas.data_report import DataReport, DayMinutes, SymbolData

FIRST = datetime(2026, 11, 1, tzinfo=UTC)


def day(number: int, share: float | None, feed: bool = True) -> DayMinutes:
    bars = round(1_000 * (share or 0))
    expected = 0 if share is None else 1_000
    missing = expected - bars if feed else 0
    when = (FIRST + timedelta(days=number)).date()
    return DayMinutes(day=when, expected=expected, bars=bars, no_trades=0, source_gap=missing, not_asked=0, share=share)


def report(**symbols: list[float | None]) -> DataReport:
    """A symbol of a feed with the shares of its days; one in small letters is from files."""
    data = [
        SymbolData(
            symbol=name,
            feed="binance" if name.isupper() else None,
            days=[day(number, share, name.isupper()) for number, share in enumerate(shares)],
            revisions=1_234,
            rejected_rows=5,
        )
        for name, shares in symbols.items()
    ]
    return DataReport(since=FIRST, until=FIRST + timedelta(days=3), symbols=data, ended={})


def pixels(png: bytes) -> NDArray[np.float64]:
    return np.asarray(imread(BytesIO(png))[..., :3], dtype=np.float64)


def share_of(image: NDArray[np.float64], colour: str) -> float:
    """The share of the pixels that have `colour`."""
    return float((np.abs(image - to_rgb(colour)).max(axis=2) < 0.03).mean())


def chart(*rows: list[float | None]) -> NDArray[np.float64]:
    import pandas as pd

    columns = [date(2026, 11, number + 1) for number in range(len(rows[0]))]
    frame = pd.DataFrame(list(rows), index=[f"S{n}" for n in range(len(rows))], columns=columns, dtype=float)
    return pixels(completeness_chart(frame))


def test_colour_of_a_cell_is_that_of_its_share() -> None:
    complete, empty, closed = (chart([share] * 3, [share] * 3) for share in (1.0, 0.0, None))
    for image, colour in ((complete, BLUE), (empty, ORANGE), (closed, PALE)):
        others = {BLUE, ORANGE, PALE} - {colour}
        assert share_of(image, colour) > 0.4
        assert max(share_of(image, other) for other in others) < 0.02, "only in the legend"
    half = chart([1.0, 0.0], [1.0, 0.0])
    assert share_of(half, BLUE) == pytest.approx(share_of(half, ORANGE), abs=0.01)


def test_nearly_complete_day_differs_from_a_complete_one() -> None:
    assert share_of(chart([0.9999]), BLUE) < 0.02
    assert share_of(chart([0.0001]), ORANGE) < 0.02


def test_row_of_a_symbol_keeps_its_height() -> None:
    one, many = chart([1.0] * 30), chart(*[[1.0] * 30] * 50)
    assert one.shape[1] == many.shape[1] == 1_100
    assert 100 < one.shape[0] < 250
    assert (many.shape[0] - one.shape[0]) / 49 > 20


def test_picture_shows_the_symbols_that_lack_most() -> None:
    symbols: dict[str, list[float | None]] = {f"S{number}": [1.0] for number in range(MOST_SYMBOLS + 20)}
    symbols["WORST"] = [0.0]
    assert completeness_picture(report()) is None
    png = completeness_picture(report(**symbols))
    assert png is not None
    image = pixels(png)
    assert image.shape[0] < 1_600
    assert share_of(image[:-60], ORANGE) > 0.005


def test_symbol_with_markup_and_any_length_is_drawn() -> None:
    png = completeness_picture(report(**{"$A_B$ <b>": [1.0, None], "X" * 64: [0.5, 0.2]}))
    assert png is not None
    assert png.startswith(b"\x89PNG")


def test_table_has_shares_of_expected_minutes_and_the_worst_days() -> None:
    shown = report(ABC=[1.0, 0.25, 0.5, 0.75, 1.0], index=[1.0, 0.5])
    abc, index = data_rows(shown)
    assert abc == [
        "ABC", "binance", "70.0 %", "0.0 %", "30.0 %", "0.0 %", "1,234", "5",
        "2026-11-02 25.0 %, 2026-11-03 50.0 %, 2026-11-04 75.0 %",
    ]  # fmt: skip
    assert index[1:6] == ["files", "75.0 %", "–", "–", "–"]
    assert incomplete(shown) == ["ABC", "index"]
    assert incomplete(report(ABC=[1.0, None])) == []
    assert data_rows(report(ABC=[None]))[0][2:6] == ["–"] * 4


def test_percentage_is_100_only_where_nothing_is_missing() -> None:
    assert [percent(share) for share in (0.0, 0.0001, 0.5, 0.99999, 1.0)] == [
        "0.0 %",
        "< 0.1 %",
        "50.0 %",
        "99.9 %",
        "100 %",
    ]


def test_page_escapes_symbols_and_has_the_picture() -> None:
    shown = report(**{"A|B_C": [0.5]}).model_copy(update={"ended": {"OLD*": FIRST}})
    page = data_page(shown, b"PNG")
    assert r"| A\|B\_C | binance | 50.0 % |" in page
    assert r"OLD\* (last bar 2026-11-01)" in page
    assert "](data:image/png;base64,UE5H)" in page
    assert "data:image" not in data_page(shown, None)
