"""The errors. Every message contains the value at fault and the remedy."""

EXIT_FAILED, EXIT_MISUSED, EXIT_INTERRUPTED = 1, 2, 130
"""Exit codes of a command that failed, had invalid input, or was interrupted by Ctrl-C."""
LONGEST_QUOTE = 300


def one_line(text: object, longest: int = LONGEST_QUOTE) -> str:
    """`text` as a quote in a message: one line of printable characters, cut off after `longest` of them."""
    message = str(text)[: 4 * longest]  # the rest could be megabytes
    message = " ".join("".join(letter if letter.isprintable() else " " for letter in message).split())
    return message if len(message) <= longest else f"{message[: longest - 1]}…"


class HybridMLError(Exception):
    """Base of every error with a message for users; the command line prints it and exits 1."""


class BadInput(HybridMLError):
    """A file, a flag or a setting contains an invalid value."""


class DataUnavailable(HybridMLError):
    """There are no bars, or too few, for the request."""


class CalendarEnded(HybridMLError):
    """A calendar states nothing about the time asked for; whether its market is open then would be a guess."""


class ModelUnavailable(HybridMLError):
    """No saved model can be used: missing, damaged, or made for something else."""


class StoreUnavailable(HybridMLError):
    """The database cannot be used: not reached, without the expected schema, or without a right or disk space."""


class StoreUnreachable(StoreUnavailable):
    """The database cannot be used now: suspended, restarting, overloaded or too slow; a task retries."""


class ConfigurationUnreachable(StoreUnreachable):
    """The Prefect server does not return its blocks and Variable; it may be restarting, so a task retries."""


class AlertRefused(HybridMLError):
    """Telegram refused a message for good; a retry would not help."""


class AlertNotSent(HybridMLError):
    """An alert did not reach all of its chats; the message names them and the reasons."""


class SymbolBusy(HybridMLError):
    """Another run is working on the symbol; this run changed nothing."""


class ServiceBusy(HybridMLError):
    """Another service already does this work for the same database."""


class ServiceUnavailable(HybridMLError):
    """A service that the project needs does not answer or did not start."""


class ExchangeRefused(HybridMLError):
    """An exchange refuses a request for good: from this place, or because it has no such symbol."""


class ClockWrong(HybridMLError):
    """This machine's clock and that of an exchange differ too much for answers about the next minutes."""


class LoadInterrupted(HybridMLError):
    """A load from an exchange was ended by its run; what it had loaded is kept."""


class ExchangeUnavailable(HybridMLError):
    """An exchange gives no usable answer after several tries, or has banned this address for long."""
