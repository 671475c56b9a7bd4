"""The systemd units: no section or key that systemd has not, and what each promises."""

import configparser
from pathlib import Path

import pytest

from deployments.service.server import SERVER_SETTINGS
from tests.ways.files import UNITS, unit

FOLDER = "/var/lib/hybrid-ml"
KEYS = {
    "Unit": {"Description", "Documentation", "Wants", "After", "StartLimitIntervalSec"},
    "Service": {
        *("Type", "ExecStart", "WorkingDirectory", "User", "Group", "EnvironmentFile", "Environment"),
        *("StateDirectory", "StateDirectoryMode", "Restart", "RestartSec", "KillMode", "KillSignal", "TimeoutStopSec"),
        *("NoNewPrivileges", "CapabilityBoundingSet", "ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices"),
        *("ProtectClock", "ProtectControlGroups", "ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules"),
        *("ProtectKernelTunables", "RestrictAddressFamilies", "RestrictNamespaces", "RestrictRealtime"),
        *("RestrictSUIDSGID", "LockPersonality", "SystemCallArchitectures", "UMask"),
    },
    "Install": {"WantedBy"},
}
"""Of systemd.unit(5), systemd.service(5), systemd.exec(5) and systemd.kill(5): those that stand here on purpose."""


def test_all_four_are_there() -> None:
    assert [path.stem for path in UNITS] == ["hybrid-ml-bot", "hybrid-ml-monitor", "hybrid-ml-worker", "hybrid-ml"]


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_every_key_stands_where_systemd_looks_for_it(path: Path) -> None:
    read = unit(path)
    assert {section: set(keys) - KEYS[section] for section, keys in read.items()} == {
        "Unit": set(),
        "Service": set(),
        "Install": set(),
    }


def test_a_line_that_is_none_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.service"
    broken.write_text("[Service]\nRestart always\n")
    with pytest.raises(configparser.Error):
        unit(broken)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_it_comes_back_stops_in_order_and_may_little(path: Path) -> None:
    service = unit(path)["Service"]
    assert service["Restart"] == ["always"]
    assert unit(path)["Unit"]["StartLimitIntervalSec"] == ["0"]
    assert (service["KillMode"], service["KillSignal"]) == (["mixed"], ["SIGTERM"])
    assert service["User"] == service["Group"] == ["hybrid-ml"]  # PostgreSQL refuses root
    for key in ("NoNewPrivileges", "PrivateTmp", "ProtectHome"):
        assert service[key] == ["yes"]
    assert service["ProtectSystem"] == ["strict"]


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_what_is_written_lies_in_the_one_folder_it_may_write(path: Path) -> None:
    service = unit(path)["Service"]
    assert service["StateDirectory"] == [Path(FOLDER).name]
    folders = dict(line.split("=", 1) for line in service["Environment"])
    for name in ("HOME", "PREFECT_HOME", "HYBRID_ML_DATA_DIR", "HYBRID_ML_MODELS_DIR"):
        assert folders[name].startswith(FOLDER)


def test_the_server_unpacks_its_pages_where_it_may_write() -> None:
    """By itself Prefect unpacks them into its installation; where that is read-only there is no UI."""
    (up,) = (path for path in UNITS if path.stem == "hybrid-ml")
    assert f"PREFECT_SERVER_UI_STATIC_DIRECTORY={FOLDER}/ui" in unit(up)["Service"]["Environment"]


def test_the_server_has_the_settings_of_up_because_up_starts_it() -> None:
    """Whatever a unit states in the environment wins over them, so it states none of them."""
    for path in UNITS:
        service = unit(path)["Service"]
        assert not {line.split("=", 1)[0] for line in service["Environment"]} & set(SERVER_SETTINGS)
    (up,) = (path for path in UNITS if path.stem == "hybrid-ml")
    assert unit(up)["Service"]["ExecStart"] == ["/opt/hybrid-ml/.venv/bin/hybrid-ml up"]
