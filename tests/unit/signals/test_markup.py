"""Escaping of external text for Telegram's HTML, and shortening of long messages."""

from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hybrid_ml.alerts.html import CAPTION_LIMIT, REPEAT, TEXT_LIMIT, escaped, fit, length, repeat_mark, visible

ALLOWED = {"b", "strong", "i", "em", "u", "ins", "s", "strike", "del", "code", "pre", "a", "span", "blockquote"}
EXTERNAL = st.text(st.characters(), max_size=64) | st.text(
    st.sampled_from("<>&\"'*_`[]()~#\\/$\u202e\u2067\n\t🚀a&amp;")
)


class Strict(HTMLParser):
    """Parses as Telegram does: fails for unknown tags and tags that are not closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text, self.stack = "", []  # type: ignore[var-annotated]
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        assert tag in ALLOWED
        self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    handle_decl = handle_pi = handle_comment


def read(text: str) -> str:
    """The visible text of well-formed `text`; fails if Telegram would refuse it."""
    ElementTree.fromstring(f"<message>{text}</message>")  # noqa: S314  # text of this test
    return Strict(text).text


@given(external=EXTERNAL)
@example("<b>bold</b> & \"quoted\" 'single' *_`[")
@example("🚀")
@example("\u202eDUSU\u2066\u200f\u200b\ufeff\x00\x1f\u2028\ud800")
@example("👨\u200d👩\u200d👧")
def test_external_text_becomes_one_visible_line(external: str) -> None:
    seen = read(f"<b>{escaped(external)}</b>")
    assert len(seen.splitlines()) <= 1
    assert seen.isprintable() or any(not c.isprintable() for c in external.replace("\n", ""))
    plain = "".join(c for c in external if c.isprintable())
    position = 0
    for character in plain:  # all visible characters are present in order
        position = seen.index(character, position) + 1


@pytest.mark.parametrize(
    ("external", "expected"),
    [
        ("BTC\u202eDSU", "BTC\\u202eDSU"),
        ("A\nB\tC", "A\\u000aB\\u0009C"),
        ("\ud83d", "\\ud83d"),
        ("👨\u200d👩", "👨\u200d👩"),
        ("<i>&amp;", "<i>&amp;"),
        ("NIFTY 50", "NIFTY 50"),
    ],
)
def test_invisible_characters_are_shown_as_code_points(external: str, expected: str) -> None:
    assert read(escaped(external)) == expected
    assert visible(escaped(external)) == expected


def test_length_is_counted_in_utf16_units() -> None:
    assert length("<b>&lt;a&gt; &amp; 🚀</b>") == len("<a> & ") + 2
    assert (CAPTION_LIMIT, TEXT_LIMIT) == (1_024, 4_096)


LINES = st.lists(
    EXTERNAL.map(escaped) | EXTERNAL.map(lambda item: f"<b>{escaped(item)}</b>: <code>{escaped(item)}</code>"),
    min_size=1, max_size=12,
)  # fmt: skip


@given(lines=LINES, limit=st.integers(0, 300))
def test_long_text_loses_whole_last_lines(lines: list[str], limit: int) -> None:
    text = "\n".join(lines)
    cut = fit(text, limit)
    read(cut)
    assert length(cut) <= limit
    if length(text) <= limit:
        assert cut == text
    elif length(lines[0]) <= limit:
        kept_lines = max(n for n in range(1, len(lines) + 1) if length("\n".join(lines[:n])) <= limit)
        assert cut == "\n".join(lines[:kept_lines]).rstrip()
    else:
        assert visible(lines[0]).startswith(visible(cut))
        assert length(cut) >= min(limit, length(lines[0])) - 1  # an emoji of two units must not be split


def test_tag_over_several_lines_is_closed_after_a_cut() -> None:
    assert fit("<pre><b>one\ntwo\nthree</b></pre>", 7) == "<pre><b>one\ntwo</b></pre>"


def test_long_first_line_is_cut_between_characters() -> None:
    assert fit("<b>" + "🚀" * 3 + "&amp;</b>", 5) == "🚀🚀"
    assert fit("<b>a&amp;&amp;</b>", 2) == "a&amp;"


def test_repeated_message_begins_with_a_note() -> None:
    marked = repeat_mark("<b>▲ BTCUSD UP</b>\nmore")
    assert read(marked).splitlines() == [REPEAT, "▲ BTCUSD UP", "more"]
