"""Telegram's HTML: escaping text from elsewhere, and cutting text that is too long.

Telegram accepts a few tags and refuses a whole message with any other, or with an unclosed one
(https://core.telegram.org/bots/api#html-style). Here every tag begins and ends on its line.
"""

import html
import unicodedata
from bisect import bisect_right
from html.parser import HTMLParser

CAPTION_LIMIT, TEXT_LIMIT = 1_024, 4_096
"""UTF-16 code units of visible text under a picture, and in a message without one."""
REPEAT = "Repeat: the first may have arrived already"
ZERO_WIDTH_JOINER = "\u200d"
"""Joins the parts of one emoji; the only invisible character that is kept."""


class _Visible(HTMLParser):
    """Collects the visible text, and the tags that are still open."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002  # HTMLParser's
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            self.open.remove(tag)


def escaped(foreign: str) -> str:
    """`foreign` as text in a message: on one line, without markup, without invisible characters.

    Line breaks, control characters, half surrogates and characters that change the direction of text
    are shown by their number, like \\u202e.
    """
    return html.escape("".join(_seen(character) for character in foreign))


def _seen(character: str) -> str:
    hidden = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    return f"\\u{ord(character):04x}" if hidden and character != ZERO_WIDTH_JOINER else character


def visible(text: str) -> str:
    """The visible text: without tags, entities resolved."""
    return "".join(_Visible(text).parts)


def length(text: str) -> int:
    """The length of `text` as Telegram counts it: UTF-16 code units of the visible text."""
    return len(visible(text).encode("utf-16-le", "surrogatepass")) // 2


def fit(text: str, limit: int) -> str:
    """`text` without as many of its last lines as needed for a `length` of at most `limit`.

    Tags that a dropped line would have closed are closed. A first line that is too long by itself is cut,
    and loses its tags.
    """
    if length(text) <= limit:
        return text
    lines = text.split("\n")
    kept = bisect_right(range(1, len(lines)), limit, key=lambda count: length("\n".join(lines[:count])))
    if not kept:
        units = visible(lines[0]).encode("utf-16-le", "surrogatepass")[: 2 * limit]
        return html.escape(units.decode("utf-16-le", "ignore"))
    part = "\n".join(lines[:kept]).rstrip()
    return part + "".join(f"</{tag}>" for tag in reversed(_Visible(part).open))


def repeat_mark(text: str) -> str:
    """`text` with a first line that it may have arrived before."""
    return f"<i>{REPEAT}</i>\n{text}"
