"""What Telegram's Bot API refuses: markup it cannot parse, texts too long, messages too often."""

import html
import math
import re
from collections import defaultdict, deque
from dataclasses import dataclass, field

LONGEST_TEXT, LONGEST_CAPTION = 4096, 1024
TAGS = {"b", "strong", "i", "em", "u", "ins", "s", "strike", "del", "a", "code", "pre", "blockquote", "tg-spoiler"}
TAGS |= {"span", "tg-emoji"}
ENTITY = re.compile(r"&(?:lt|gt|amp|quot|#\d+|#x[0-9a-fA-F]+);")


class Unparsable(Exception):
    """What Telegram says after "can't parse entities: "."""


def visible(text: str, parse_mode: str) -> str:
    """What a reader sees of `text`; raises Unparsable as Telegram's HTML mode does. Other modes stay as they are."""
    if parse_mode.upper() != "HTML":
        return text
    seen, open_tags, position = [], [], 0
    while position < len(text):
        if text[position] != "<":
            end = text.find("<", position)
            end = len(text) if end < 0 else end
            seen.append(ENTITY.sub(lambda found: html.unescape(found[0]), text[position:end]))
            position = end
            continue
        offset = len(text[:position].encode())
        end = text.find(">", position)
        name = (re.split(r"[\s>]", text[position + 1 :], maxsplit=1)[0]).lower()
        if name.startswith("/"):
            _close(name[1:], open_tags, offset)
        elif name not in TAGS:
            raise Unparsable(f'Unsupported start tag "{name}" at byte offset {offset}')
        elif end < 0:
            raise Unparsable(f"Unclosed start tag at byte offset {offset}")
        else:
            open_tags.append(name)
        position = end + 1 if end >= 0 else len(text)
    if open_tags:
        raise Unparsable(f'Can\'t find end tag corresponding to start tag "{open_tags[-1]}"')
    return "".join(seen)


def _close(name: str, open_tags: list[str], offset: int) -> None:
    if not open_tags:
        raise Unparsable(f"Unexpected end tag at byte offset {offset}")
    expected = open_tags.pop()
    if name != expected:
        raise Unparsable(f'Unmatched end tag at byte offset {offset}, expected "</{expected}>", found "</{name}>"')


def problem_with_text(text: str, parse_mode: str, *, caption: bool) -> str | None:
    """The description Telegram answers 400 with, or None."""
    try:
        seen = visible(text, parse_mode).strip()
    except Unparsable as error:
        return f"Bad Request: can't parse entities: {error}"
    if not seen and not caption:
        return "Bad Request: message text is empty"
    units = len(seen.encode("utf-16-le")) // 2
    if units > (LONGEST_CAPTION if caption else LONGEST_TEXT):
        return "Bad Request: message caption is too long" if caption else "Bad Request: message is too long"
    return None


@dataclass
class Limits:
    """How often messages may come. Rates are those Telegram's own questions and answers name."""

    overall_a_second: int = 30
    private_burst: int = 3
    private_seconds_each: float = 1.0
    group_a_minute: int = 20
    _overall: deque[float] = field(default_factory=deque)
    _groups: dict[str, deque[float]] = field(default_factory=lambda: defaultdict(deque))
    _private: dict[str, float] = field(default_factory=dict)

    def wait_seconds(self, chat_id: str, at: float) -> int:
        """0 and the message counts; or how many whole seconds the sender must be silent, and it does not."""
        waits = [_wait(self._overall, at, 1.0, self.overall_a_second)]
        if _is_group(chat_id):
            waits.append(_wait(self._groups[chat_id], at, 60.0, self.group_a_minute))
        else:
            # A bucket told by the moment at which it would be empty again.
            empty_at = max(self._private.get(chat_id, at), at) + self.private_seconds_each
            waits.append(empty_at - at - self.private_burst * self.private_seconds_each)
        if max(waits) > 1e-6:
            return math.ceil(max(waits))
        self._overall.append(at)
        if _is_group(chat_id):
            self._groups[chat_id].append(at)
        else:
            self._private[chat_id] = empty_at
        return 0


def _wait(taken: deque[float], at: float, seconds: float, count: int) -> float:
    while taken and taken[0] <= at - seconds:
        taken.popleft()
    return taken[0] + seconds - at if len(taken) >= count else 0.0


def _is_group(chat_id: str) -> bool:
    return chat_id.startswith(("-", "@"))
