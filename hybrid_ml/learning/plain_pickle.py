"""Reading a pickle of plain values from an untrusted source, at a cost bounded by its length.

`pickle` runs a small machine: a few bytes can name a function to call, request gigabytes of memo, or nest tuples whose
hash takes minutes. So the operations are checked first, without being executed, and only those that
`pickle.dumps` needs for numbers, text, bytes, lists and dictionaries are allowed.
"""

import io
import pickle
import pickletools
from typing import Any

from hybrid_ml.errors import ModelUnavailable, one_line

PLAIN_OPCODES = frozenset(
    (
        "PROTO", "FRAME", "STOP", "MARK", "MEMOIZE", "BINGET", "LONG_BINGET",
        "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
        "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8",
        "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS",
    )
)  # fmt: skip
"""No tuples: they may be keys, and the hash of nested ones is exponential. No numbered memo, which is as long as its
largest number."""
MOST_OPCODES = 20_000
"""A base has about 500. One byte can make a dictionary of 64."""
MOST_DEPTH = 16
MOST_REPEATED = 1_000_000
"""Characters and values by which the content may exceed the pickle: a text that is written once can be used in many
places, and so can a list of lists of lists."""


class _NoGlobals(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        raise ModelUnavailable(
            f"pickle check failed: it names {module_name}.{global_name}; a model contains plain values only"
        )


def load_plain(data: bytes) -> Any:
    """The value pickled in `data`: numbers, text, bytes, None, lists and dictionaries of them, and nothing else.

    Takes time and memory in proportion to `data`. Raises ModelUnavailable naming any other content.
    """
    try:
        _check_opcodes(data)
        content = _NoGlobals(io.BytesIO(data)).load()
    except ModelUnavailable:
        raise
    except Exception as error:  # damaged pickles raise nearly anything: EOFError, KeyError, struct.error, …
        raise ModelUnavailable(f"pickle check failed: {type(error).__name__}: {one_line(error)}") from None
    _check_size(content, len(data) + MOST_REPEATED)
    return content


def _check_opcodes(data: bytes) -> None:
    for count, (opcode, _, _) in enumerate(pickletools.genops(data)):
        if opcode.name not in PLAIN_OPCODES:
            raise ModelUnavailable(
                f"pickle check failed: it contains the operation {opcode.name}; a model contains numbers, text, bytes, "
                "lists and dictionaries only"
            )
        if count >= MOST_OPCODES:
            raise ModelUnavailable(f"pickle check failed: it contains more than {MOST_OPCODES:,} operations")


def _check_size(content: Any, most: int) -> None:
    """A value that is referred to twice counts twice, since it is written twice as JSON, for instance."""
    size, waiting = 0, [(content, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MOST_DEPTH:
            raise ModelUnavailable(f"pickle check failed: it is nested deeper than {MOST_DEPTH} levels")
        size += 1 + (len(value) if isinstance(value, (str, bytes, list, dict)) else 0)
        if size > most:
            raise ModelUnavailable("pickle check failed: it repeats its content too often")
        if isinstance(value, dict):
            waiting += [(item, depth + 1) for pair in value.items() for item in pair]
        elif isinstance(value, list):
            waiting += [(item, depth + 1) for item in value]
