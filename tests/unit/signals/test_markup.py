"""What is foreign stays harmless in Telegram's HTML, and what is too long is made to fit."""

from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hybrid_ml.alerts.html import CAPTION_LIMIT, REPEAT, TEXT_LIMIT, escaped, fit, length, repeat_mark, visible

ALLOWED = {"b", "strong", "i", "em", "u", "ins", "s", "strike", "del", "code", "pre", "a", "span", "blockquote"}
FOREIGN = st.text(st.characters(), max_size=64) | st.text(
    st.sampled_from("<>&\"'*_`[]()~#\\/$\u202e\u2067\n\t🚀a&amp;")
)


class Strict(HTMLParser):
    """Reads as Telegram does: a tag it does not know, or one that is not closed, is a refusal."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.seen, self.stack = "", []  # type: ignore[var-annotated]
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_data(self, data: str) -> None:
        self.seen += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        assert tag in ALLOWED
        self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    handle_decl = handle_pi = handle_comment


def read(text: str) -> str:
    """What a reader sees of well-formed `text`; fails where Telegram would refuse it."""
    ElementTree.fromstring(f"<message>{text}</message>")  # noqa: S314  # made here
    return Strict(text).seen


@given(foreign=FOREIGN)
@example("<b>bold</b> & \"quoted\" 'single' *_`[")
@example("🚀")
@example("\u202eDUSU\u2066\u200f\u200b\ufeff\x00\x1f\u2028\ud800")
@example("👨\u200d👩\u200d👧")
def test_whatever_is_foreign_is_one_visible_line(foreign: str) -> None:
    seen = read(f"<b>{escaped(foreign)}</b>")
    assert len(seen.splitlines()) <= 1
    assert seen.isprintable() or any(not c.isprintable() for c in foreign.replace("\n", ""))
    plain = "".join(c for c in foreign if c.isprintable())
    position = 0
    for character in plain:  # every character that can be seen is there, in order
        position = seen.index(character, position) + 1


@pytest.mark.parametrize(
    ("foreign", "seen"),
    [
        ("BTC\u202eDSU", "BTC\\u202eDSU"),
        ("A\nB\tC", "A\\u000aB\\u0009C"),
        ("\ud83d", "\\ud83d"),
        ("👨\u200d👩", "👨\u200d👩"),
        ("<i>&amp;", "<i>&amp;"),
        ("NIFTY 50", "NIFTY 50"),
    ],
)
def test_what_could_not_be_seen_is_shown_by_its_number(foreign: str, seen: str) -> None:
    assert read(escaped(foreign)) == seen
    assert visible(escaped(foreign)) == seen


def test_length_is_counted_as_telegram_counts() -> None:
    assert length("<b>&lt;a&gt; &amp; 🚀</b>") == len("<a> & ") + 2
    assert (CAPTION_LIMIT, TEXT_LIMIT) == (1_024, 4_096)


LINES = st.lists(
    FOREIGN.map(escaped) | FOREIGN.map(lambda item: f"<b>{escaped(item)}</b>: <code>{escaped(item)}</code>"),
    min_size=1, max_size=12,
)  # fmt: skip


@given(lines=LINES, limit=st.integers(0, 300))
def test_what_does_not_fit_loses_whole_last_lines(lines: list[str], limit: int) -> None:
    text = "\n".join(lines)
    cut = fit(text, limit)
    read(cut)
    assert length(cut) <= limit
    if length(text) <= limit:
        assert cut == text
    elif length(lines[0]) <= limit:
        kept = max(n for n in range(1, len(lines) + 1) if length("\n".join(lines[:n])) <= limit)
        assert cut == "\n".join(lines[:kept]).rstrip()
    else:
        assert visible(lines[0]).startswith(visible(cut))
        assert length(cut) >= min(limit, length(lines[0])) - 1  # an emoji of two units may not be halved


def test_a_tag_over_several_lines_is_closed_where_it_is_cut() -> None:
    assert fit("<pre><b>one\ntwo\nthree</b></pre>", 7) == "<pre><b>one\ntwo</b></pre>"


def test_a_first_line_that_is_too_long_is_cut_between_characters() -> None:
    assert fit("<b>" + "🚀" * 3 + "&amp;</b>", 5) == "🚀🚀"
    assert fit("<b>a&amp;&amp;</b>", 2) == "a&amp;"


def test_a_repetition_says_so_first() -> None:
    marked = repeat_mark("<b>▲ BTCUSD UP</b>\nmore")
    assert read(marked).splitlines() == [REPEAT, "▲ BTCUSD UP", "more"]
