"""Output of a review: the page in the Prefect UI, tables on a terminal, the summary message."""

import re
from datetime import timedelta
from html.parser import HTMLParser
from io import BytesIO
from typing import Any

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from hybrid_ml.console.review_tables import show_review
from hybrid_ml.console.terminal import out
from hybrid_ml.errors import DataUnavailable
from hybrid_ml.review.accuracy_drift import correctness, signal_record
from hybrid_ml.review.build import account
from hybrid_ml.review.feature_drift import FeatureDrift, Moved
from hybrid_ml.review.figures import draw
from hybrid_ml.review.findings import SymbolDrift, chance, findings
from hybrid_ml.review.report import report_markdown
from hybrid_ml.review.result import ReviewReport
from hybrid_ml.review.scope import make_scope
from hybrid_ml.review.summary import LONGEST_SUMMARY, summary_text
from hybrid_ml.schemas.delivery_stats import Deliveries
from hybrid_ml.schemas.reports import Failure
from hybrid_ml.schemas.requests import ReviewRequest
from tests.ledgers import REVIEWED_AT, simulated_ledger

ODD_NAME = "A|B<i>*x*&$"
NO_DRIFT = FeatureDrift(63, 3, 0.4, 1.2, [Moved("return_1", "level", 1.2, 0.5, 0.52)], "as unusual as 40%")
DRIFT = FeatureDrift(63, 3, 0.016, 4.6, [Moved("traded_share_30", "level", -4.6, 0.5, 0.02)], "as unusual as 1.6%")


def watch(answers: pd.DataFrame, features: FeatureDrift = NO_DRIFT) -> SymbolDrift:
    return SymbolDrift(str(answers["symbol"].iloc[0]), features, correctness(answers), signal_record(answers))


def make_report(
    *parts: pd.DataFrame, features: FeatureDrift = NO_DRIFT, **changes: Any
) -> tuple[ReviewReport, pd.DataFrame]:
    answers = pd.concat(parts, ignore_index=True)
    symbols = [str(part["symbol"].iloc[0]) for part in parts if len(part)]
    request = ReviewRequest(symbols=[name for name in symbols if name != ODD_NAME], as_of=REVIEWED_AT, days=30)
    scope = make_scope(request, [], symbols, 30, REVIEWED_AT)
    watches = [watch(part, features) for part in parts if len(part)]
    report = account(request, scope, answers, changes.get("deliveries", []), watches, changes.get("failures", []))
    return report, answers


class Tags(HTMLParser):
    """Collects open tags and the text without tags."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert attrs == []
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(html: str) -> str:
    reader = Tags()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader.text


def test_verdict_comes_first_in_the_report() -> None:
    no_findings, _ = make_report(simulated_ledger())
    text = report_markdown(no_findings, {})
    assert no_findings.found == []
    assert text.index("**Nothing found:**") < text.index("## Metrics of the answers")
    with_findings, _ = make_report(
        simulated_ledger(count=2_000, calibration=0.0, calibrated_until=1_000), features=DRIFT
    )
    assert len(with_findings.found) == 3
    text = report_markdown(with_findings, {})
    places = [text.index(part) for part in ("**Found:**", "traded\\_share\\_30 lower", "## Metrics of the answers")]
    assert places == sorted(places)


def test_every_finding_is_a_sentence_with_figures() -> None:
    answers = simulated_ledger(count=2_000, calibration=0.0, calibrated_until=1_000)
    features, fall, short = findings(watch(answers, DRIFT))
    assert features == "ABC: features of the last 3 days changed: traded_share_30 lower (p = 0.016, 63 days)"
    assert "the accuracy has fallen: accuracy 0." in fall
    assert "signals were right less often than stated" in short
    assert short.endswith("(p < 0.001)")
    assert findings(watch(simulated_ledger())) == []


def test_tables_have_metrics_and_escaped_names() -> None:
    report, _ = make_report(simulated_ledger(ODD_NAME, 600), simulated_ledger("DEMO", 500, preset="aggressive"))
    text = report_markdown(report, {})
    assert "| A\\|B\\<i\\>\\*x\\*&\\$ | balanced | 600 | 600 | 0 | 0 |" in text
    assert "| DEMO (simulated data) | aggressive | 500 |" in text
    signals = report.overall["signals"]
    assert f"{signals['precision']:.3f} ({signals['precision_interval'][0]:.3f}" in text
    lines = [line.replace("\\|", "") for line in text.splitlines() if line.startswith("|")]
    widths = [line.count("|") for line in lines]
    heads = [position for position, line in enumerate(lines) if set(line) <= set("| -")]
    assert all(widths[position] == widths[position - 1] == widths[position + 1] for position in heads)


def test_returns_are_shown_from_close_to_close_and_from_the_entry_beside_a_guess() -> None:
    ledger = simulated_ledger(count=600)
    ledger.loc[ledger.index[::50], ["entry_time", "entry_price", "entry_return"]] = None
    ledger["tradable"] = [place % 50 != 0 for place in range(600)]
    report, _ = make_report(ledger)
    text = report_markdown(report, {})
    section = text.split("## Returns of the signals\n")[1].split("\n## ", maxsplit=1)[0]
    head, _, row, *_ = [line for line in section.splitlines() if line.startswith("|")]
    cells = dict(
        zip(head.split(" | ")[3:], row.split(" | ")[3:], strict=True)
    )  # two heads occur twice: the last counts
    sent, entry = report.overall["signals"], report.overall["signals"]["entry"]
    assert cells["t over days"] == f"{entry['t']:+z.1f}"
    assert cells["guess after the fee"] == f"{entry['guess_mean_return_after_fee_bps']:+z.1f}"
    assert cells["from the entry, bps: mean"] == f"{entry['mean_return_bps']:+z.1f}"
    assert cells["drawdown, bps"] == f"{entry['drawdown_bps']:,.0f}"
    assert cells["stale price"] == f"{entry['stale_share']:.3f}"
    assert cells["not tradable"] == str(entry["not_tradable"])
    assert entry["traded"] + entry["not_tradable"] == sent["count"]
    assert len(report.equity) == entry["traded"]
    assert report.equity[-1]["total_bps"] == pytest.approx(entry["total_bps"])


def test_signals_of_before_the_entries_have_returns_from_close_to_close_only(capsys: pytest.CaptureFixture) -> None:
    ledger = simulated_ledger(count=300).assign(
        entry_time=pd.NaT, entry_price=np.nan, entry_return=np.nan, tradable=None
    )
    report, answers = make_report(ledger.assign(entry_time=ledger["entry_time"].where(ledger["tradable"].notna())))
    assert report.equity == []
    assert "equity.png" not in draw(report, answers)
    unknown = report.overall["signals"]["count"]
    assert f"| – | – | – | – | – | – | – | – | – | 0 | {unknown} |" in report_markdown(report, {})
    assert "from the entry" not in summary_text(report)
    show_review(report)
    assert f"{report.overall['signals']['mean_return_bps']:+.1f}" in capsys.readouterr().out


def test_parts_without_verdict_are_listed() -> None:
    no_verdict = FeatureDrift(4, 3, None, None, [], "not known: 4 days with enough bars, 20 are needed")
    report, _ = make_report(
        simulated_ledger(), features=no_verdict, failures=[Failure(symbol="X", error="out of order")]
    )
    text = report_markdown(report, {})
    assert "- ABC: features not known: 4 days" in text
    assert "- X failed: out of order" in text


def test_empty_ledger_is_stated_in_all_outputs(capsys: pytest.CaptureFixture) -> None:
    report, answers = make_report(simulated_ledger(count=1).iloc[:0])
    assert "there is nothing to review yet" in report_markdown(report, {})
    assert draw(report, answers) == {}
    assert "0 answers, 0 signals" in summary_text(report)
    show_review(report)
    assert "nothing to review" in capsys.readouterr().out


def test_alerts_are_listed_by_kind_chat_and_state(capsys: pytest.CaptureFixture) -> None:
    deliveries = [
        Deliveries("signal", "-100", "sent", 12, 2, 1.5, 70.0),
        Deliveries("signal", "-100", "expired", 1, 0, None, None),
        Deliveries("outcome", "", "logged", 3, 0, None, None),
    ]
    report, _ = make_report(simulated_ledger(), deliveries=deliveries)
    text = report_markdown(report, {})
    assert "| signal | -100 | sent | 12 | 2 | 1.5 | 70.0 |" in text
    assert "| outcome | log | logged | 3 | 0 | – | – |" in text
    assert "alerts: 1 expired, 12 sent; 2 of them late" in summary_text(report)
    show_review(report)
    assert "expired" in capsys.readouterr().out


def test_summary_is_short_valid_html() -> None:
    report, _ = make_report(simulated_ledger(ODD_NAME, 2_000, calibration=0.0, calibrated_until=1_000), features=DRIFT)
    text = read(summary_text(report))
    assert text.startswith("Review 2024-03-05 00:30 UTC\n⚠️ A|B<i>*x*&$: features of the last 3 days changed")
    newest = report.newest_day
    assert f"last 24 h: {newest['answers']:,} answers, {newest['signals_in_all']:,} signals" in text
    entry = report.overall["signals"]["entry"]
    mean, guess = entry["mean_return_after_fee_bps"], entry["guess_mean_return_after_fee_bps"]
    assert f", {mean:+z.1f} bps each from the entry after the fee (a guess {guess:+z.1f})" in text
    assert newest["answers"] == 143  # one every ten minutes of a day, without the newest, which is not resolved yet


def test_summary_of_many_symbols_is_cut_between_lines() -> None:
    report, _ = make_report(simulated_ledger(count=200))
    large = report.model_copy(update={"parts": [{**report.parts[0], "symbol": f"<{n}&>" * 5} for n in range(200)]})
    text = summary_text(large)
    assert len(text) <= LONGEST_SUMMARY
    assert read(text).splitlines()[-1].endswith("more lines; see the review in the Prefect UI")


def test_charts_are_reproducible_png_linked_in_the_report() -> None:
    odd = simulated_ledger(ODD_NAME, 600, calibration=0.0, calibrated_until=300)
    report, answers = make_report(odd, simulated_ledger("XYZ", 150))
    first, again = (draw(report, answers) for _ in range(2))
    assert first == again
    assert set(first) == {"accuracy.png", "reliability.png", "coverage.png", "equity.png"}
    for picture in first.values():
        height, width, _ = matplotlib.image.imread(BytesIO(picture)).shape
        assert 200 < height < 1_000
        assert 500 < width < 1_000
    text = report_markdown(report, {name: f"here/{name}" for name in first})
    assert all(f"](here/{name})" in text for name in first)
    few, answers = make_report(simulated_ledger(count=150).assign(signal=False))
    assert set(draw(few, answers)) == {"reliability.png", "coverage.png"}


def test_scope_is_named_configured_or_all_real_symbols() -> None:
    known_symbols = ["XYZ", "DEMO", "ABC"]
    named = make_scope(ReviewRequest(symbols=["ABC"], days=7), ["C"], known_symbols, 30, REVIEWED_AT)
    assert (named.symbols, named.since) == (["ABC"], REVIEWED_AT - timedelta(days=7))
    assert make_scope(ReviewRequest(), ["C"], known_symbols, 30, REVIEWED_AT).symbols == ["C"]
    odd_second = REVIEWED_AT + timedelta(seconds=17)
    all_symbols = make_scope(ReviewRequest(), [], known_symbols, 30, odd_second)
    assert (all_symbols.symbols, all_symbols.as_of) == (["ABC", "XYZ"], REVIEWED_AT)
    assert make_scope(ReviewRequest(), [], ["DEMO"], 30, REVIEWED_AT).symbols == ["DEMO"]
    assert make_scope(ReviewRequest(), [], [], 30, REVIEWED_AT).symbols == []


def test_symbol_that_is_over_is_reviewed_only_where_it_is_named_or_alone() -> None:
    known_symbols = ["ABC", "XYZ"]
    assert make_scope(ReviewRequest(), [], known_symbols, 30, REVIEWED_AT, ["ABC"]).symbols == ["XYZ"]
    assert make_scope(ReviewRequest(), ["ABC"], known_symbols, 30, REVIEWED_AT, ["ABC"]).symbols == ["ABC"]
    assert make_scope(ReviewRequest(symbols="ABC"), [], known_symbols, 30, REVIEWED_AT, ["ABC"]).symbols == ["ABC"]
    assert make_scope(ReviewRequest(), [], known_symbols, 30, REVIEWED_AT, known_symbols).symbols == known_symbols


def test_p_values_are_formatted() -> None:
    assert [chance(p) for p in (None, 0.0, 0.0156, 1.0)] == ["not known", "p < 0.001", "p = 0.016", "p = 1.000"]


def test_nothing_found_is_stated_only_if_everything_was_judged(capsys: pytest.CaptureFixture) -> None:
    no_findings, _ = make_report(simulated_ledger())
    no_verdict = FeatureDrift(0, 3, None, None, [], "not known: the newest whole day ended 9 days ago")
    outage, _ = make_report(simulated_ledger(ODD_NAME, 600), simulated_ledger("XYZ", 600, seed=1), features=no_verdict)
    failed, _ = make_report(simulated_ledger(), failures=[Failure(symbol="<X>", error="out of order")])
    unresolved, _ = make_report(simulated_ledger().assign(outcome=None), features=no_verdict)
    for report, verdict in (
        (no_findings, "Nothing found: no drift of the features and no fall of the accuracy."),
        (outage, "Nothing found in what could be judged, which was not everything."),
        (failed, "Nothing found in what could be judged, which was not everything."),
        (unresolved, "Nothing could be judged."),
    ):
        show_review(report)
        lines = (report_markdown(report, {}).replace("*", ""), read(summary_text(report)), capsys.readouterr().out)
        assert all(verdict in item for item in lines)
        assert report is no_findings or not any("Nothing found:" in item for item in lines)
    assert f"❔ not judged: {ODD_NAME} (features not known: the newest whole day ended 9 days ago)" in read(
        summary_text(outage)
    )
    assert "❌ not judged: <X> (it failed)" in read(summary_text(failed))
    assert "accuracy not known: no answer with an outcome" in summary_text(unresolved)


def test_symbol_without_outcomes_has_no_accuracy_verdict(capsys: pytest.CaptureFixture) -> None:
    report, _ = make_report(simulated_ledger().assign(outcome=None))
    show_review(report)
    assert "as it was" not in capsys.readouterr().out
    assert "| p = 0.400 (63 days) | return\\_1 higher (+1.2) | 0 | – | 0 of 0 |" in report_markdown(report, {})


def test_all_figures_fit_on_eighty_columns(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out, "_width", 80)
    deliveries = [Deliveries("outcome", "-1001234567890", "unconfirmed", 12_345, 1_234, 12_345.6, 70.0)]
    long_name = "NIFTY BANK FUTURES CONTINUOUS"
    large = simulated_ledger(long_name, 4_000, preset="conservative", calibration=0.0, calibrated_until=2_000)
    report, _ = make_report(large, features=DRIFT, deliveries=deliveries)
    show_review(report)
    text = capsys.readouterr().out
    sent = report.overall["signals"]
    low, high = sent["precision_interval"]
    figures = [f"{sent['precision']:.2f} ({low:.2f}-{high:.2f})", f"{sent['false_positive_rate']:.3f}", "12,345.6",
               f"{sent['mean_return_bps']:+.1f}", f"{report.overall['majority_accuracy']:.3f}", "1,234", "p < 0.001",
               f"{report.watches[0].signals.right} of {report.watches[0].signals.signals}", "-1001234567890",
               f"changed {report.watches[0].correctness.changes[-1].at:%Y-%m-%d}", "p = 0.016"]  # fmt: skip
    assert [figure for figure in figures if figure not in text] == []
    assert "…" not in text
    table = text[text.index("symbol ") : text.index("Which setting")]
    assert max(len(line.rstrip()) for line in table.splitlines()) <= 80


def test_unknown_symbol_is_refused_with_known_symbols() -> None:
    message = "--symbol TYPO: no bars or answers of it (there are those of: ABC, XYZ)"
    with pytest.raises(DataUnavailable, match=re.escape(message)):
        make_scope(ReviewRequest(symbols=["ABC", "TYPO"]), [], ["XYZ", "ABC"], 30, REVIEWED_AT)
    with pytest.raises(DataUnavailable, match="none yet"):
        make_scope(ReviewRequest(symbols=["TYPO"]), ["TYPO"], [], 30, REVIEWED_AT)


def test_answers_recorded_late_are_reported() -> None:
    answers = simulated_ledger()
    report, _ = make_report(answers)
    assert "- Every answer was recorded before its outcome was known. **Void**" in report_markdown(report, {})
    report, _ = make_report(answers.assign(recorded_late=answers.index < 7))
    text = report_markdown(report, {})
    assert "Every answer was recorded before" not in text
    assert "**Recorded after their ten minutes were over: 7 of 1,000 answers**" in text


def test_majority_of_the_newest_day_uses_earlier_days() -> None:
    answers = simulated_ledger()
    newest = answers["bar_time"] >= pd.Timestamp(REVIEWED_AT - timedelta(days=1))
    answers["outcome"] = np.where(newest, "down", "up")
    report, _ = make_report(answers)
    assert report.newest_day["majority_accuracy"] == 0.0  # all earlier outcomes are up


def test_day_without_answers_is_reported_as_outage() -> None:
    stopped, _ = make_report(simulated_ledger(until=REVIEWED_AT - timedelta(days=2)))
    expected = "last 24 h: 0 answers, 0 signals (no analysis ran, or there were no new bars)"
    assert expected in read(summary_text(stopped))
    assert "no analysis ran" not in summary_text(make_report(simulated_ledger())[0])
