"""The process that flow processes are forked from: everything imported, nothing begun.

It has one thread and keeps it so: a fork of a process with threads inherits their locks and none of them.
`python -m deployments.warm.template SOCKET`; it ends when its standard input does, which its worker holds.
"""

import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import sysconfig
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deployments.unheard import speak_to_whoever_listens
from deployments.warm.engine import run_engine

PROJECT = Path(__file__).resolve().parents[2]
PRELOADED = (
    "prefect.flow_engine",
    "prefect.task_engine",
    "prefect.task_runners",
    "prefect.artifacts",
    "prefect.runner.storage",
    "tasks.server",
    "flows.analysis",
    "flows.weekly_training",
    "flows.review",
    "flows.backup",
    "flows.replay",
    "flows.backfill",
    "telegram",
    "psycopg2",
    "matplotlib.backends.backend_agg",
)
ASKING_SECONDS = 2.0
"""How long one starter may take to say what it wants; others wait meanwhile."""


@dataclass
class Template:
    """Whoever is forked from here: their lines, by process id."""

    listener: socket.socket
    files: dict[Path, tuple[int, int]]
    lines: dict[int, socket.socket] = field(default_factory=dict)


def main(address: str) -> None:
    """Import, listen, and fork, until the worker goes; in a fork, be the flow process."""
    begun_ns = time.time_ns()
    for name in PRELOADED:
        importlib.import_module(name)
    if threading.active_count() > 1:
        names = ", ".join(each.name for each in threading.enumerate())
        raise SystemExit(f"the warm template must have one thread, and has {names}; flow processes start cold")
    gc.collect()
    gc.freeze()  # so that collections in forks leave shared pages alone
    template = Template(listen(address), loaded_files(begun_ns))
    asked = serve(template)
    if asked is not None:
        become(asked)


def listen(address: str) -> socket.socket:
    """A socket that only this user can reach."""
    Path(address).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    Path(address).chmod(0o600)
    listener.listen(64)
    return listener


def loaded_files(begun_ns: int) -> dict[Path, tuple[int, int]]:
    """What was imported of the project, and the folder of installed packages, with time and size.

    A file that changed since `begun_ns` may have been read before it did, so it counts as changed.
    """
    found = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    ours = [Path(name) for name in found if name and Path(name).is_relative_to(PROJECT)]
    packages = Path(sysconfig.get_path("purelib"))
    states = {path: _state(path) for path in [*(each for each in ours if packages not in each.parents), packages]}
    changed = {path: (0, 0) for path, (at_ns, _) in states.items() if begun_ns < at_ns < time.time_ns()}
    return states | changed


def _state(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def is_outdated(files: dict[Path, tuple[int, int]]) -> bool:
    """Whether any of the files has changed since."""
    return any(_state(path) != state for path, state in files.items())


def serve(template: Template) -> dict[str, Any] | None:
    """Fork for whoever asks. Returns None when the worker has gone, and in a fork what it was asked."""
    reading, writing = os.pipe()
    for end in (reading, writing):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(writing)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the worker, whose end is ours
    with selectors.DefaultSelector() as selector:
        for source in (template.listener, reading, sys.stdin.fileno()):
            selector.register(source, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _ in selector.select()}
            if reading in ready:
                os.read(reading, 4096)
                reap(template)
            if sys.stdin.fileno() in ready and not os.read(sys.stdin.fileno(), 4096):
                return None  # flow processes that are at work go on, as those of a process worker do
            if template.listener.fileno() in ready:
                asked = answer(template)
                if asked is not None:
                    signal.set_wakeup_fd(-1)
                    return asked


def reap(template: Template) -> None:
    """Tell each starter how its flow process ended."""
    while template.lines:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        line = template.lines.pop(pid)
        _say(line, {"status": status})
        line.close()


def _say(line: socket.socket, words: dict[str, int]) -> None:
    with suppress(OSError):  # the starter was killed; its flow process has noticed by itself
        line.sendall(json.dumps(words).encode() + b"\n")


def answer(template: Template) -> dict[str, Any] | None:
    """Fork for one starter; in the fork, what it was asked."""
    line, _ = template.listener.accept()
    line.settimeout(ASKING_SECONDS)
    try:
        asked = read_request(line)
    except (OSError, ValueError):
        line.close()
        return None
    if is_outdated(template.files):
        close_all(asked["outputs"])
        line.close()  # the starter goes cold meanwhile
        if not template.lines:
            os.execv(sys.executable, [sys.executable, "-m", "deployments.warm.template", *sys.argv[1:]])  # noqa: S606
        return None
    pid = os.fork()
    if pid:
        template.lines[pid] = line
        close_all(asked["outputs"])
        _say(line, {"pid": pid})
        return None
    template.listener.close()
    for other in template.lines.values():
        other.close()
    return {**asked, "line": line}


def read_request(line: socket.socket) -> dict[str, Any]:
    """Environment, folder and outputs of a starter. Raises OSError or ValueError where it does not say them."""
    head, outputs, _, _ = socket.recv_fds(line, 8, 2, socket.MSG_CMSG_CLOEXEC)
    length, said = int.from_bytes(head, "big"), b""
    try:
        while len(said) < length:
            part = line.recv(1 << 16)
            if not part:
                raise ValueError("the starter has gone")
            said += part
        return {**json.loads(said), "outputs": outputs}
    except (OSError, ValueError):
        close_all(outputs)
        raise


def close_all(descriptors: Iterable[int]) -> None:
    """Let go of a starter's outputs: the worker waits until nobody holds them."""
    for descriptor in descriptors:
        os.close(descriptor)


def become(asked: dict[str, Any]) -> None:
    """Be the flow process: its environment, folder, output and signals, tied to its starter's life."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    line: socket.socket = asked["line"]
    line.settimeout(None)
    if line.recv(3) != b"go\n":
        os._exit(0)  # the starter went, or went cold
    os.setsid()  # what it starts is of its group, and goes with it
    threading.Thread(target=_die_with_starter, args=(line,), name="starter", daemon=True).start()
    for target, output in zip((1, 2), asked["outputs"], strict=True):
        os.dup2(output, target)
        os.close(output)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    speak_to_whoever_listens()
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    run_with_settings_of_its_own()


def run_with_settings_of_its_own() -> None:
    """Be the engine, with the settings of this environment and not of the one the template began in."""
    from prefect.context import refresh_global_settings_context
    from prefect.logging.configuration import setup_logging

    refresh_global_settings_context()
    setup_logging(incremental=False)
    run_engine()


def _die_with_starter(line: socket.socket) -> None:
    """The worker kills the starter where it means the flow process."""
    try:
        line.recv(1)
    finally:
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1])
