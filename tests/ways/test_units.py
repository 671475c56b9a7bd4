"""The systemd units: only known sections and keys, and their documented properties."""

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
"""The keys of systemd.unit(5), systemd.service(5), systemd.exec(5) and systemd.kill(5) that the units use."""


def test_there_are_four_units() -> None:
    assert [path.stem for path in UNITS] == ["hybrid-ml-bot", "hybrid-ml-monitor", "hybrid-ml-worker", "hybrid-ml"]


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_units_have_only_known_keys(path: Path) -> None:
    sections = unit(path)
    assert {section: set(keys) - KEYS[section] for section, keys in sections.items()} == {
        "Unit": set(),
        "Service": set(),
        "Install": set(),
    }


def test_invalid_unit_file_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.service"
    broken.write_text("[Service]\nRestart always\n")
    with pytest.raises(configparser.Error):
        unit(broken)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_units_restart_stop_cleanly_and_are_sandboxed(path: Path) -> None:
    service = unit(path)["Service"]
    assert service["Restart"] == ["always"]
    assert unit(path)["Unit"]["StartLimitIntervalSec"] == ["0"]
    assert (service["KillMode"], service["KillSignal"]) == (["mixed"], ["SIGTERM"])
    assert service["User"] == service["Group"] == ["hybrid-ml"]  # PostgreSQL refuses root
    for key in ("NoNewPrivileges", "PrivateTmp", "ProtectHome"):
        assert service[key] == ["yes"]
    assert service["ProtectSystem"] == ["strict"]


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_units_write_only_to_their_state_directory(path: Path) -> None:
    service = unit(path)["Service"]
    assert service["StateDirectory"] == [Path(FOLDER).name]
    folders = dict(line.split("=", 1) for line in service["Environment"])
    for name in ("HOME", "PREFECT_HOME", "HYBRID_ML_DATA_DIR", "HYBRID_ML_MODELS_DIR"):
        assert folders[name].startswith(FOLDER)


def test_server_unpacks_its_ui_into_the_state_directory() -> None:
    """By default Prefect unpacks them into its installation; if that is read-only, there is no UI."""
    (up,) = (path for path in UNITS if path.stem == "hybrid-ml")
    assert f"PREFECT_SERVER_UI_STATIC_DIRECTORY={FOLDER}/ui" in unit(up)["Service"]["Environment"]


def test_units_do_not_override_server_settings() -> None:
    """Variables of a unit would override the settings of `up`, so units set none of them."""
    for path in UNITS:
        service = unit(path)["Service"]
        assert not {line.split("=", 1)[0] for line in service["Environment"]} & set(SERVER_SETTINGS)
    (up,) = (path for path in UNITS if path.stem == "hybrid-ml")
    assert unit(up)["Service"]["ExecStart"] == ["/opt/hybrid-ml/.venv/bin/hybrid-ml up"]
