"""A port for a server that another process will start."""

import random
import socket

BELOW_OUTGOING = range(20_000, 32_000)
"""Outgoing connections are given ports from 32,768 on: none takes one of these before its server does."""


def free_port() -> int:
    """A port of this machine's loopback at which nobody listens."""
    while True:
        port = random.SystemRandom().choice(BELOW_OUTGOING)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
