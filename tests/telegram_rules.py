"""What Telegram's Bot API refuses: invalid markup, long texts, frequent messages."""

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
    """The text of Telegram's error after "can't parse entities: "."""


def visible(text: str, parse_mode: str) -> str:
    """The visible text without markup; raises Unparsable as Telegram's HTML mode does. Other modes are unchanged."""
    if parse_mode.upper() != "HTML":
        return text
    parts, open_tags, position = [], [], 0
    while position < len(text):
        if text[position] != "<":
            end = text.find("<", position)
            end = len(text) if end < 0 else end
            parts.append(ENTITY.sub(lambda match: html.unescape(match[0]), text[position:end]))
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
    return "".join(parts)


def _close(name: str, open_tags: list[str], offset: int) -> None:
    if not open_tags:
        raise Unparsable(f"Unexpected end tag at byte offset {offset}")
    expected = open_tags.pop()
    if name != expected:
        raise Unparsable(f'Unmatched end tag at byte offset {offset}, expected "</{expected}>", found "</{name}>"')


def problem_with_text(text: str, parse_mode: str, *, caption: bool) -> str | None:
    """The description of Telegram's answer 400, or None."""
    try:
        visible_text = visible(text, parse_mode).strip()
    except Unparsable as error:
        return f"Bad Request: can't parse entities: {error}"
    if not visible_text and not caption:
        return "Bad Request: message text is empty"
    units = len(visible_text.encode("utf-16-le")) // 2
    if units > (LONGEST_CAPTION if caption else LONGEST_TEXT):
        return "Bad Request: message caption is too long" if caption else "Bad Request: message is too long"
    return None


@dataclass
class Limits:
    """Limits of Telegram on the rate of messages. The rates are those of its FAQ."""

    overall_a_second: int = 30
    private_burst: int = 3
    private_seconds_each: float = 1.0
    group_a_minute: int = 20
    _overall: deque[float] = field(default_factory=deque)
    _groups: dict[str, deque[float]] = field(default_factory=lambda: defaultdict(deque))
    _private: dict[str, float] = field(default_factory=dict)

    def wait_seconds(self, chat_id: str, at: float) -> int:
        """0 if the message is accepted and counted; otherwise the whole seconds that the sender must wait."""
        waits = [_wait(self._overall, at, 1.0, self.overall_a_second)]
        if _is_group(chat_id):
            waits.append(_wait(self._groups[chat_id], at, 60.0, self.group_a_minute))
        else:
            # A leaky bucket, stored as the time at which it is empty again.
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


def _wait(recent: deque[float], at: float, seconds: float, count: int) -> float:
    while recent and recent[0] <= at - seconds:
        recent.popleft()
    return recent[0] + seconds - at if len(recent) >= count else 0.0


def _is_group(chat_id: str) -> bool:
    return chat_id.startswith(("-", "@"))
