"""Chooses a port for a server that another process will start."""

import random
import socket

PORT_RANGE = range(20_000, 32_000)
"""Outgoing connections use ports from 32,768 on, so none takes one of these before the server starts."""


def free_port() -> int:
    """An unused port on loopback."""
    while True:
        port = random.SystemRandom().choice(PORT_RANGE)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
