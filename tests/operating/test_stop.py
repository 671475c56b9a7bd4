"""`hybrid-ml up` stops without leftovers, and starts again on what is there.

Other tests hold the two ways to stop by themselves: the fixture `up` an interrupt, test_live_bars.py a closed terminal.
"""

import signal
from pathlib import Path

from tests.faults.sample import matrix
from tests.ports import free_port
from tests.terminal import Terminal
from tests.up import make_accessible, nothing_left_of, start_up


@matrix
def test_up_starts_again_after_interrupts_and_stops_by_a_closed_terminal(tmp_path: Path) -> None:
    folder, port, terminal = make_accessible(tmp_path), free_port(), Terminal()
    first = start_up(folder, port)
    authentication = first.authentication
    with nothing_left_of(first):
        first.process.send_signal(signal.SIGINT)
        first.process.send_signal(signal.SIGINT)  # a second interrupt has no effect
    second = start_up(folder, port, terminal=terminal)
    assert "Traceback" not in second.log.read_text()
    assert second.authentication == authentication
    with nothing_left_of(second):
        terminal.close()
        second.process.send_signal(signal.SIGHUP)
