"""Spans of coverage: replaced, joined, and what is still to be asked."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from hybrid_ml.market.coverage import Span, State, pages, replaced, spans_of, unanswered

START = datetime(2024, 3, 5, tzinfo=UTC)
STATES: tuple[State, ...] = ("have", "no_trades", "source_gap", "unknown")
LENGTH = 30


def at(minute: int) -> datetime:
    return START + timedelta(minutes=minute)


def by_minute(spans: list[Span]) -> dict[datetime, State]:
    return {span.begin + timedelta(minutes=n): span.state for span in spans for n in range(span.minutes)}


answers = st.tuples(st.integers(0, LENGTH), st.lists(st.sampled_from(STATES), min_size=1, max_size=LENGTH))


@given(st.lists(answers, max_size=6))
def test_newest_answer_about_a_minute_counts_and_spans_stay_joined(answered: list[tuple[int, list[State]]]) -> None:
    spans: list[Span] = []
    expected: dict[datetime, State] = {}
    for first, states in answered:
        spans = replaced(spans, spans_of(at(first), states))
        expected |= {at(first + n): state for n, state in enumerate(states)}
    assert by_minute(spans) == expected
    assert sum(span.minutes for span in spans) == len(expected), "spans overlap"
    neighbours = pairwise(spans)
    assert all(one.end < next_.begin or one.state != next_.state for one, next_ in neighbours)
    missing = [at(n) for n in range(2 * LENGTH) if expected.get(at(n), "unknown") == "unknown"]
    asked = [
        begin + timedelta(minutes=n)
        for begin, end in pages(unanswered(spans, at(0), at(2 * LENGTH)), 7)
        for n in range((end - begin) // timedelta(minutes=1))
    ]
    assert asked == missing


def test_pages_are_cut_by_time() -> None:
    assert list(pages([(at(0), at(10)), (at(20), at(21))], 4)) == [
        (at(0), at(4)),
        (at(4), at(8)),
        (at(8), at(10)),
        (at(20), at(21)),
    ]


def test_span_beyond_the_range_does_not_hide_what_is_before_it() -> None:
    assert unanswered([Span(at(-5), at(2), "have"), Span(at(8), at(50), "have")], at(0), at(10)) == [(at(2), at(8))]
    assert unanswered([Span(at(12), at(50), "have")], at(0), at(10)) == [(at(0), at(10))]
