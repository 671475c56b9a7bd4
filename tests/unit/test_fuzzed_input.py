"""External input is parsed or refused, without any other error: model files, and updates of the Bot API.

Hypothesis generates the examples, the same in every run; for files of bars see tests/unit/market/test_hostile_files.py.
"""

import pickle
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hybrid_ml.bot.parsing import KNOWN, UnauthorizedChat, parse_command
from hybrid_ml.errors import ModelUnavailable
from hybrid_ml.learning.plain_pickle import load_plain
from hybrid_ml.schemas.bot_status import BotCommand

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
CHATS = st.fixed_dictionaries(
    {"id": st.integers(-(2**52), 2**52), "type": st.sampled_from(["private", "group", "supergroup", "channel"])},
    optional={"username": st.text(max_size=8)},
)
TEXTS = st.text(max_size=12) | st.builds(
    "/{}{}{}".format, st.sampled_from([*KNOWN, "x"]), st.sampled_from(["", "@bot", "@other", " "]), st.text(max_size=12)
)


@given(PLAIN)
def test_plain_values_are_unpickled(value: Any) -> None:
    assert load_plain(pickle.dumps(value)) == value


@given(PLAIN, st.binary(max_size=6), st.integers(0, 200), st.integers(0, 8))
def test_damaged_pickle_is_refused_or_gives_plain_values(value: Any, other: bytes, position: int, length: int) -> None:
    data = pickle.dumps(value)
    position %= len(data)
    try:
        loaded = load_plain(data[:position] + other + data[position + length :])
    except ModelUnavailable as error:
        assert "\n" not in str(error)
    else:
        assert type(loaded) in (type(None), bool, int, float, str, bytes, list, dict)


@given(
    chat=CHATS,
    message=st.fixed_dictionaries(
        {"date": st.integers(0, 2**32)},
        optional={"text": TEXTS, "caption": TEXTS, "from": st.fixed_dictionaries({"id": st.integers(1, 2**52)})},
    ),
    number=st.integers(0, 2**31),
    kind=st.sampled_from(["message", "edited_message", "channel_post"]),
)
def test_update_is_parsed_as_command_unauthorized_or_ignored(
    chat: dict[str, Any], message: dict[str, Any], number: int, kind: str
) -> None:
    update = {"update_id": number, kind: message | {"chat": chat}}
    command = parse_command(update, [str(chat["id"])], "bot")
    assert command is None or (isinstance(command, BotCommand) and command.update_id == number)
    assert isinstance(parse_command(update, ["42x"], "bot"), UnauthorizedChat | None)
    if kind != "message" or not str(message.get("text", "")).strip().startswith("/"):
        assert command is None
