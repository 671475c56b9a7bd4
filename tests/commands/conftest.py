"""Commands run in this process: what a command needs to start, Prefect above all, is then loaded once."""

import subprocess
from pathlib import Path

import pytest

from hybrid_ml.cli.__main__ import main
from tests.conftest import WITHOUT_BLOCKS, Command


@pytest.fixture
def command_here(
    home: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Command:
    """Run one of the project's commands as `command` does, without a process of its own."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
        for name, value in (WITHOUT_BLOCKS | environment).items():
            monkeypatch.setenv(name, value)
        return run_main(capsys, *arguments)

    return run


def run_main(capsys: pytest.CaptureFixture, *arguments: str) -> subprocess.CompletedProcess:
    """Run `hybrid-ml …` in this process, with its settings."""
    capsys.readouterr()
    code: object = 0
    try:
        main(arguments)
    except SystemExit as end:
        code = end.code or 0
    output = capsys.readouterr()
    assert isinstance(code, int)
    return subprocess.CompletedProcess(arguments, code, output.out, output.err)
