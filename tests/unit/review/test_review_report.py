"""What a person reads after a review: in the Prefect UI, on a terminal, on a phone."""

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
from hybrid_ml.review.findings import Watch, chance, findings
from hybrid_ml.review.report import report_markdown
from hybrid_ml.review.result import ReviewReport
from hybrid_ml.review.scope import settle_scope
from hybrid_ml.review.summary import LONGEST_SUMMARY, summary_text
from hybrid_ml.schemas.delivery_stats import Deliveries
from hybrid_ml.schemas.reports import Failure
from hybrid_ml.schemas.requests import ReviewRequest
from tests.ledgers import REVIEWED_AT, simulated_ledger

ODD = "A|B<i>*x*&$"
STILL = FeatureDrift(63, 3, 0.4, 1.2, [Moved("return_1", "level", 1.2, 0.5, 0.52)], "as unusual as 40%")
MOVED = FeatureDrift(63, 3, 0.016, 4.6, [Moved("traded_share_30", "level", -4.6, 0.5, 0.02)], "as unusual as 1.6%")


def watch(answers: pd.DataFrame, features: FeatureDrift = STILL) -> Watch:
    return Watch(str(answers["symbol"].iloc[0]), features, correctness(answers), signal_record(answers))


def reviewed(*parts: pd.DataFrame, features: FeatureDrift = STILL, **changes: Any) -> tuple[ReviewReport, pd.DataFrame]:
    answers = pd.concat(parts, ignore_index=True)
    symbols = [str(part["symbol"].iloc[0]) for part in parts if len(part)]
    request = ReviewRequest(symbols=[name for name in symbols if name != ODD], as_of=REVIEWED_AT, days=30)
    scope = settle_scope(request, [], symbols, 30, REVIEWED_AT)
    watches = [watch(part, features) for part in parts if len(part)]
    report = account(request, scope, answers, changes.get("deliveries", []), watches, changes.get("failures", []))
    return report, answers


class Tags(HTMLParser):
    """Which tags are open, and the text without any."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert attrs == []
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def read(html: str) -> str:
    reader = Tags()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader.words


def test_the_verdict_stands_first() -> None:
    calm, _ = reviewed(simulated_ledger())
    text = report_markdown(calm, {})
    assert calm.found == []
    assert text.index("**Nothing found:**") < text.index("## What the answers were worth")
    alarming, _ = reviewed(simulated_ledger(count=2_000, honesty=0.0, honest_until=1_000), features=MOVED)
    assert len(alarming.found) == 3
    text = report_markdown(alarming, {})
    assert text.index("**Found:**") < text.index("traded\\_share\\_30 lower") < text.index("## What the answers")


def test_each_alarm_is_a_sentence_with_its_figures() -> None:
    answers = simulated_ledger(count=2_000, honesty=0.0, honest_until=1_000)
    features, fall, short = findings(watch(answers, MOVED))
    assert features == "ABC: features of the last 3 days moved: traded_share_30 lower (p = 0.016, 63 days)"
    assert "the record has fallen: accuracy 0." in fall
    assert "signals fall short of what they state" in short
    assert short.endswith("(p < 0.001)")
    assert findings(watch(simulated_ledger())) == []


def test_tables_hold_what_was_measured_also_for_odd_names() -> None:
    report, _ = reviewed(simulated_ledger(ODD, 600), simulated_ledger("DEMO", 500, preset="aggressive"))
    text = report_markdown(report, {})
    assert "| A\\|B\\<i\\>\\*x\\*&\\$ | balanced | 600 | 600 | 0 | 0 |" in text
    assert "| DEMO (simulated data) | aggressive | 500 |" in text
    sent = report.overall["signals"]
    assert f"{sent['precision']:.3f} ({sent['precision_interval'][0]:.3f}" in text
    lines = [line.replace("\\|", "") for line in text.splitlines() if line.startswith("|")]
    widths = [line.count("|") for line in lines]
    heads = [place for place, line in enumerate(lines) if set(line) <= set("| -")]
    assert all(widths[place] == widths[place - 1] == widths[place + 1] for place in heads)


def test_what_could_not_be_judged_is_said() -> None:
    blind = FeatureDrift(4, 3, None, None, [], "cannot tell: 4 days with enough bars, 20 are needed")
    report, _ = reviewed(simulated_ledger(), features=blind, failures=[Failure(symbol="X", error="out of order")])
    text = report_markdown(report, {})
    assert "- ABC: features cannot tell: 4 days" in text
    assert "- X failed: out of order" in text


def test_an_empty_ledger_says_so_everywhere(capsys: pytest.CaptureFixture) -> None:
    report, answers = reviewed(simulated_ledger(count=1).iloc[:0])
    assert "there is nothing to look back on yet" in report_markdown(report, {})
    assert draw(report, answers) == {}
    assert "0 answers, 0 signals" in summary_text(report)
    show_review(report)
    assert "nothing to look back on" in capsys.readouterr().out


def test_alerts_are_told_by_kind_chat_and_state(capsys: pytest.CaptureFixture) -> None:
    deliveries = [
        Deliveries("signal", "-100", "sent", 12, 2, 1.5, 70.0),
        Deliveries("signal", "-100", "expired", 1, 0, None, None),
        Deliveries("outcome", "", "logged", 3, 0, None, None),
    ]
    report, _ = reviewed(simulated_ledger(), deliveries=deliveries)
    text = report_markdown(report, {})
    assert "| signal | -100 | sent | 12 | 2 | 1.5 | 70.0 |" in text
    assert "| outcome | log | logged | 3 | 0 | – | – |" in text
    assert "alerts: 1 expired, 12 sent; 2 of them late" in summary_text(report)
    show_review(report)
    assert "expired" in capsys.readouterr().out


def test_the_summary_is_short_and_whole_html() -> None:
    report, _ = reviewed(simulated_ledger(ODD, 2_000, honesty=0.0, honest_until=1_000), features=MOVED)
    words = read(summary_text(report))
    assert words.startswith("Review 2024-03-05 00:30 UTC\n⚠️ A|B<i>*x*&$: features of the last 3 days moved")
    newest = report.newest_day
    assert f"last 24 h: {newest['answers']:,} answers, {newest['signals_in_all']:,} signals" in words
    assert newest["answers"] == 143  # every ten minutes of a day, the newest ten not yet over


def test_a_summary_of_many_symbols_is_cut_between_lines() -> None:
    report, _ = reviewed(simulated_ledger(count=200))
    many = report.model_copy(update={"parts": [{**report.parts[0], "symbol": f"<{n}&>" * 5} for n in range(200)]})
    text = summary_text(many)
    assert len(text) <= LONGEST_SUMMARY
    assert read(text).splitlines()[-1].endswith("more lines; the review in the Prefect UI has them")


def test_charts_are_png_and_stand_where_they_are_said_to() -> None:
    odd = simulated_ledger(ODD, 600, honesty=0.0, honest_until=300)
    report, answers = reviewed(odd, simulated_ledger("XYZ", 150))
    first, again = (draw(report, answers) for _ in range(2))
    assert first == again
    assert set(first) == {"accuracy.png", "reliability.png", "coverage.png"}
    for picture in first.values():
        height, width, _ = matplotlib.image.imread(BytesIO(picture)).shape
        assert 200 < height < 1_000
        assert 500 < width < 1_000
    text = report_markdown(report, {name: f"here/{name}" for name in first})
    assert all(f"](here/{name})" in text for name in first)
    few, answers = reviewed(simulated_ledger(count=150).assign(signal=False))
    assert set(draw(few, answers)) == {"reliability.png", "coverage.png"}


def test_the_scope_takes_the_named_the_configured_or_all_but_simulated_symbols() -> None:
    offered = ["XYZ", "DEMO", "ABC"]
    named = settle_scope(ReviewRequest(symbols=["ABC"], days=7), ["C"], offered, 30, REVIEWED_AT)
    assert (named.symbols, named.since) == (["ABC"], REVIEWED_AT - timedelta(days=7))
    assert settle_scope(ReviewRequest(), ["C"], offered, 30, REVIEWED_AT).symbols == ["C"]
    odd_second = REVIEWED_AT + timedelta(seconds=17)
    everyone = settle_scope(ReviewRequest(), [], offered, 30, odd_second)
    assert (everyone.symbols, everyone.as_of) == (["ABC", "XYZ"], REVIEWED_AT)
    assert settle_scope(ReviewRequest(), [], ["DEMO"], 30, REVIEWED_AT).symbols == ["DEMO"]
    assert settle_scope(ReviewRequest(), [], [], 30, REVIEWED_AT).symbols == []


def test_chances_in_words() -> None:
    assert [chance(p) for p in (None, 0.0, 0.0156, 1.0)] == ["cannot tell", "p < 0.001", "p = 0.016", "p = 1.000"]


def test_nothing_found_is_said_only_where_everything_was_judged(capsys: pytest.CaptureFixture) -> None:
    calm, _ = reviewed(simulated_ledger())
    blind = FeatureDrift(0, 3, None, None, [], "cannot tell: the newest whole day ended 9 days ago")
    outage, _ = reviewed(simulated_ledger(ODD, 600), simulated_ledger("XYZ", 600, seed=1), features=blind)
    failed, _ = reviewed(simulated_ledger(), failures=[Failure(symbol="<X>", error="out of order")])
    silent, _ = reviewed(simulated_ledger().assign(outcome=None), features=blind)
    for report, verdict in (
        (calm, "Nothing found: neither drift of the features nor a fallen record."),
        (outage, "Nothing found in what could be judged; not everything could."),
        (failed, "Nothing found in what could be judged; not everything could."),
        (silent, "Nothing could be judged."),
    ):
        show_review(report)
        lines = (report_markdown(report, {}).replace("*", ""), read(summary_text(report)), capsys.readouterr().out)
        assert all(verdict in item for item in lines)
        assert report is calm or not any("Nothing found:" in item for item in lines)
    assert f"❔ not judged: {ODD} (features cannot tell: the newest whole day ended 9 days ago)" in read(
        summary_text(outage)
    )
    assert "❌ not judged: <X> (it failed)" in read(summary_text(failed))
    assert "record cannot tell: no answer with an outcome" in summary_text(silent)


def test_a_symbol_without_outcomes_has_no_accuracy_that_is_as_it_was(capsys: pytest.CaptureFixture) -> None:
    report, _ = reviewed(simulated_ledger().assign(outcome=None))
    show_review(report)
    assert "as it was" not in capsys.readouterr().out
    assert "| p = 0.400 (63 days) | return\\_1 higher (+1.2) | 0 | – | 0 of 0 |" in report_markdown(report, {})


def test_every_figure_can_be_read_on_eighty_columns(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out, "_width", 80)
    deliveries = [Deliveries("outcome", "-1001234567890", "unconfirmed", 12_345, 1_234, 12_345.6, 70.0)]
    long = "NIFTY BANK FUTURES CONTINUOUS"
    many = simulated_ledger(long, 4_000, preset="conservative", honesty=0.0, honest_until=2_000)
    report, _ = reviewed(many, features=MOVED, deliveries=deliveries)
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


def test_a_named_symbol_that_nobody_knows_is_refused_with_those_there_are() -> None:
    message = "--symbol TYPO: neither bars nor answers of it (there are those of: ABC, XYZ)"
    with pytest.raises(DataUnavailable, match=re.escape(message)):
        settle_scope(ReviewRequest(symbols=["ABC", "TYPO"]), [], ["XYZ", "ABC"], 30, REVIEWED_AT)
    with pytest.raises(DataUnavailable, match="none yet"):
        settle_scope(ReviewRequest(symbols=["TYPO"]), ["TYPO"], [], 30, REVIEWED_AT)


def test_answers_recorded_late_are_told_as_such() -> None:
    answers = simulated_ledger()
    report, _ = reviewed(answers)
    assert "- Every answer was recorded before its outcome was known. **Void**" in report_markdown(report, {})
    report, _ = reviewed(answers.assign(recorded_late=answers.index < 7))
    text = report_markdown(report, {})
    assert "Every answer was recorded before" not in text
    assert "**Recorded after their ten minutes were over: 7 of 1,000 answers**" in text


def test_the_majority_of_the_newest_day_knows_the_days_before() -> None:
    answers = simulated_ledger()
    newest = answers["bar_time"] >= pd.Timestamp(REVIEWED_AT - timedelta(days=1))
    answers["outcome"] = np.where(newest, "down", "up")
    report, _ = reviewed(answers)
    assert report.newest_day["majority_accuracy"] == 0.0  # until now it was always up


def test_a_day_without_answers_reads_as_an_outage() -> None:
    stopped, _ = reviewed(simulated_ledger(until=REVIEWED_AT - timedelta(days=2)))
    why = "last 24 h: 0 answers, 0 signals (no analysis ran, or there were no new bars)"
    assert why in read(summary_text(stopped))
    assert "no analysis ran" not in summary_text(reviewed(simulated_ledger())[0])
