"""Layout of packages: every package is in the contract of import layers."""

import tomllib

from tests.conftest import ROOT


def test_every_package_is_in_the_layers_contract() -> None:
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    [layers] = [contract["layers"] for contract in configuration["contracts"] if contract["type"] == "layers"]
    ordered = {module.strip() for layer in layers for module in layer.split("|")}
    for root, loose in (("hybrid_ml", {"errors"}), ("deployments", {"pull_step"})):
        packages = {path.parent.name for path in (ROOT / root).glob("*/__init__.py")}
        assert {name.removeprefix(f"{root}.") for name in ordered if name.startswith(f"{root}.")} == packages | loose
    assert {"flows", "tasks"} <= ordered


def test_root_package_has_no_other_modules() -> None:
    assert {path.name for path in (ROOT / "hybrid_ml").glob("*.py")} == {"__init__.py", "errors.py"}
