"""Become a flow process: a fork of the warm template where there is one, else one that begins cold.

Started by the worker for every run, so it imports the standard library alone.
`python -S starter.py SOCKET`; the run is told by the environment, as the process worker tells it.
"""

import array
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Any, NoReturn

ENGINE = "deployments.warm.engine"
ANSWER_SECONDS = 10.0
"""A template that does not answer within this is treated as absent."""
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def main(address: str) -> NoReturn:
    """Run the flow to its end, and end the same way."""
    asked = ask(address)
    if asked is None:
        run_cold()
    line, pid = asked
    for each in PASSED_ON:
        signal.signal(each, lambda number, _: _pass_on(pid, number))
    line.settimeout(None)
    line.sendall(b"go\n")  # only now does it begin: whatever ends before has run nothing
    end_as(receive(line).get("status"))


def ask(address: str) -> tuple[socket.socket, int] | None:
    """A fork that waits for the word, as its line and process id; None where none is to be had."""
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(ANSWER_SECONDS)
    try:
        line.connect(address)
        request = json.dumps({"environment": dict(os.environ), "folder": os.getcwd()}).encode()
        outputs = array.array("i", [1, 2])
        line.sendmsg([len(request).to_bytes(8, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, outputs)])
        line.sendall(request)
        pid = receive(line).get("pid")
    except OSError:
        pid = None
    if pid is None:
        line.close()
        return None
    return line, pid


def receive(line: socket.socket) -> dict[str, Any]:
    """One line of JSON; empty when the other side has gone."""
    said = b""
    while not said.endswith(b"\n"):
        part = line.recv(4096)
        if not part:
            return {}
        said += part
    found: dict[str, Any] = json.loads(said)
    return found


def _pass_on(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):  # it has just ended; its status is on the way
        os.kill(pid, number)


def run_cold() -> NoReturn:
    """Become a flow process that imports everything itself."""
    os.execv(sys.executable, [sys.executable, "-m", ENGINE])  # noqa: S606  # our own interpreter


def end_as(status: int | None) -> NoReturn:
    """End with the exit code of a wait status, or by its signal; None: the template went and cannot tell.

    The flow process has ended all the same, else its side of the line would be open. What it told the server stands.
    """
    if status is None:
        sys.exit("the warm template has ended and cannot tell how this flow process did")
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(sys.argv[1])
