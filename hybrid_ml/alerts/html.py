"""Telegram's HTML: what is foreign made harmless, what is too long made to fit.

Telegram takes a handful of tags and refuses a message with any other, or with one left open, as a
whole (https://core.telegram.org/bots/api#html-style). Here every tag begins and ends on its line.
"""

import html
import unicodedata
from bisect import bisect_right
from html.parser import HTMLParser

CAPTION_LIMIT, TEXT_LIMIT = 1_024, 4_096
"""UTF-16 code units of visible text under a picture, and in a message without one."""
REPEAT = "Repeat: the first may have arrived already"
ZERO_WIDTH_JOINER = "\u200d"
"""Holds the parts of one emoji together; the only invisible character that is kept."""


class _Visible(HTMLParser):
    """Collects what a reader sees, and which tags are still open."""

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
    """`foreign` as it can stand in a message: on one line, no markup, nothing in it that cannot be seen.

    Line breaks, control characters, half surrogates and characters that turn the direction of what
    follows are shown by their number, like \\u202e.
    """
    return html.escape("".join(_seen(character) for character in foreign))


def _seen(character: str) -> str:
    hidden = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    return f"\\u{ord(character):04x}" if hidden and character != ZERO_WIDTH_JOINER else character


def visible(text: str) -> str:
    """What a reader of `text` sees: tags gone, entities resolved."""
    return "".join(_Visible(text).parts)


def length(text: str) -> int:
    """How long `text` is as Telegram counts: UTF-16 code units of what is visible."""
    return len(visible(text).encode("utf-16-le", "surrogatepass")) // 2


def fit(text: str, limit: int) -> str:
    """`text` without as many of its last lines as it takes for `length` to be at most `limit`.

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
    """`text` with a first line that says that it may have come once already."""
    return f"<i>{REPEAT}</i>\n{text}"
