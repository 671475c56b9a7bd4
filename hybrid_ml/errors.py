"""What can go wrong, named. Every message carries the value at fault and the remedy."""

EXIT_FAILED, EXIT_MISUSED, EXIT_INTERRUPTED = 1, 2, 130
"""How a command ends when something failed, when it was asked the impossible, and after Ctrl-C."""
LONGEST_QUOTE = 300


def one_line(text: object, longest: int = LONGEST_QUOTE) -> str:
    """`text` as a message may quote it: one line of printable characters, cut off after `longest` of them."""
    message = str(text)[: 4 * longest]  # what follows could be megabytes
    message = " ".join("".join(letter if letter.isprintable() else " " for letter in message).split())
    return message if len(message) <= longest else f"{message[: longest - 1]}…"


class HybridMLError(Exception):
    """Base of every error a user is meant to read; the command line prints it and exits 1."""


class BadInput(HybridMLError):
    """A file, a flag or a setting holds something that cannot be used."""


class DataUnavailable(HybridMLError):
    """There are no bars, or too few, for what was asked."""


class ModelUnavailable(HybridMLError):
    """No saved model can be trusted: missing, damaged, or made for something else."""


class StoreUnavailable(HybridMLError):
    """The database cannot be used: not reached, without the expected schema, or a right or room lacks in it."""


class StoreUnreachable(StoreUnavailable):
    """The database cannot be used now: asleep, restarting, crowded or too slow; a task tries again."""


class ConfigurationUnreachable(StoreUnreachable):
    """The Prefect server does not hand out its blocks and Variable; it may be restarting, so a task tries again."""


class AlertRefused(HybridMLError):
    """Telegram refused a message for good; repeating it would not help."""


class AlertNotSent(HybridMLError):
    """An alert did not reach every chat it was for; the message says which and why."""


class SymbolBusy(HybridMLError):
    """Another run is working on the symbol; nothing went wrong, and nothing was done."""


class ServiceBusy(HybridMLError):
    """Another service already does this work for the same database."""


class ServiceUnavailable(HybridMLError):
    """A service the project runs on does not answer or did not start."""
