"""`hybrid-ml models`: list, show, rollback, export, import; and malicious files."""

import hashlib
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from sqlalchemy import Engine, text

from hybrid_ml.cli.__main__ import main
from hybrid_ml.config.settings import load_settings
from hybrid_ml.console import registry_tables
from hybrid_ml.errors import ModelUnavailable
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.model_bytes import pack, pack_file
from hybrid_ml.learning.rows import Window
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.registry import sandbox
from hybrid_ml.registry.access import load_saved_model
from hybrid_ml.registry.admin import roll_back
from hybrid_ml.store import model_registry as registry
from hybrid_ml.store import predictions
from hybrid_ml.store.bars import store_bars
from hybrid_ml.store.model_files import read_model
from tests.conftest import ROOT
from tests.flows.running import rows
from tests.outbox import prediction
from tests.store.test_pruning import adapter, save, trial
from tests.store.test_registry import AS_OF, NO, YES, later, statuses
from tests.store.test_registry import model as model  # noqa: PLC0414  # the fixtures of the registry's tests
from tests.store.test_registry import window as window  # noqa: PLC0414

RunModels = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run_models(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> RunModels:
    """Run `hybrid-ml models …` in this process; exit code, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = 0
        try:
            main(["models", *arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    from hybrid_ml.console import terminal

    monkeypatch.setattr(terminal.out, "_file", None)  # the console writes to the current stdout
    return run


def registry_content(engine: Engine) -> list[tuple[Any, ...]]:
    """The parts of the registry that a refused command must not change."""
    return [
        *rows(engine, "SELECT version, status, reason, md5(bytes) FROM model_versions ORDER BY 1"),
        *rows(engine, "SELECT id, event, version FROM model_events ORDER BY 1"),
    ]


def refused(run_models: RunModels, engine: Engine, *arguments: str) -> str:
    """The one-line error of a refused command; checks that the registry is unchanged."""
    before = registry_content(engine)
    code, out, err = run_models(*arguments)
    assert (code, out) == (1, "")
    assert registry_content(engine) == before
    (line,) = err.splitlines()
    return line


# --- list and show


def test_list_of_an_empty_registry_names_train_command(run_models: RunModels, engine: Engine) -> None:
    code, out, _ = run_models("list")
    assert code == 0
    assert "no models in the registry yet; train one with `hybrid-ml train`" in out


def test_list_has_bases_newest_first_and_marks_the_current_model(
    run_models: RunModels, engine: Engine, model: HybridModel
) -> None:
    first, second, worse = later(model, 0), later(model, 7), later(model, 14)
    save(engine, first, YES, age=timedelta(days=14))
    save(engine, second, YES, age=timedelta(days=7))
    save(engine, worse, NO)
    newest_adapter = adapter(second, 8 * 1440)
    trial(engine, second, newest_adapter, age=timedelta())
    code, out, _ = run_models("list")
    assert code == 0
    assert f"{newest_adapter.version} is in use" in out
    assert out.index(worse.version) < out.index(second.version) < out.rindex(first.version)
    metrics = model.base.metrics
    assert f"{metrics['accuracy']:.3f}/{metrics['majority_accuracy']:.3f}" in out
    assert f"{metrics['log_loss']:.4f}/{metrics['prior_log_loss']:.4f}" in out
    assert "rejected" in out

    listing = json.loads(run_models("list", "--symbol", "ABC", "--json")[1])
    assert listing["serving"] == {"ABC": newest_adapter.version}
    assert [line["version"] for line in listing["models"]] == [worse.version, second.version, first.version]
    everything = json.loads(run_models("list", "--all", "--json")[1])["models"]
    (line,) = [line for line in everything if line["kind"] == "adapter"]
    assert (line["version"], line["parent"], line["serves"]) == (newest_adapter.version, second.version, True)


@pytest.mark.parametrize("importance", ["none", {"return_1": "much"}, {}])
def test_unexpected_importance_is_shown_as_json(
    run_models: RunModels, engine: Engine, model: HybridModel, importance: object
) -> None:
    changed = HybridModel(pack(replace(model.base, metrics={**model.base.metrics, "importance": importance})))
    save(engine, changed, YES)
    code, out, _ = run_models("show", "--version", changed.version)
    assert code == 0
    assert (f"importance: {json.dumps(importance)}" in out) == bool(importance)
    assert "share of the gain" not in out


@pytest.fixture
def narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    """The output of a terminal of 80 columns."""
    screen = StringIO()
    console = Console(file=screen, width=80, force_terminal=True, color_system=None, highlight=False, soft_wrap=True)
    monkeypatch.setattr(registry_tables, "out", console)
    return screen


@pytest.mark.parametrize("symbol", ["ABC", "NIFTY50", "A" * 25])
def test_narrow_terminal_shows_whole_versions_and_fewer_columns(
    run_models: RunModels, engine: Engine, model: HybridModel, narrow_terminal: StringIO, symbol: str
) -> None:
    named = HybridModel(pack(replace(model.base, symbol=symbol)))
    save(engine, named, replace(YES, reason=f"{'a reason of many words ' * 20}"))
    assert run_models("list")[0] == 0
    lines = narrow_terminal.getvalue().splitlines()
    assert [line.split()[-1] for line in lines if named.version in line] == ["use", "champion"]
    assert max(map(len, lines)) <= 80
    foot = " ".join(narrow_terminal.getvalue().split()).partition("left out in a narrow terminal: ")[2]
    assert foot.startswith("kind, log loss/prior")
    assert foot.endswith("(--json has all)")
    assert ("accuracy" in foot) == (len(symbol) == 25), "only as many columns as necessary"


def test_version_longer_than_the_terminal_is_not_cut(
    run_models: RunModels, engine: Engine, model: HybridModel, narrow_terminal: StringIO
) -> None:
    named = HybridModel(pack(replace(model.base, symbol="A" * 64)))
    save(engine, named, YES)
    assert run_models("list")[0] == 0
    assert len([line for line in narrow_terminal.getvalue().splitlines() if named.version in line]) == 2


def test_list_of_an_unknown_symbol_names_known_symbols(
    run_models: RunModels, engine: Engine, model: HybridModel
) -> None:
    save(engine, model, YES)
    assert refused(run_models, engine, "list", "--symbol", "XYZ").endswith(
        "no models of XYZ in the registry (symbols there: ABC)"
    )


def test_markup_in_names_and_reasons_is_printed_as_text(
    run_models: RunModels, engine: Engine, model: HybridModel
) -> None:
    named = HybridModel(pack(replace(model.base, symbol="[red]A" + 58 * "b")))
    save(engine, named, replace(YES, reason="[bold]because[/nothing]"))
    for arguments in (["list"], ["show", "--version", named.version]):
        code, out, _ = run_models(*arguments)
        assert code == 0
        assert named.version in out
        assert "[/nothing]" in out


def test_show_prints_details_and_checks_the_bytes(run_models: RunModels, engine: Engine, model: HybridModel) -> None:
    save(engine, model, YES)
    with engine.begin() as connection:
        predictions.record(connection, prediction(AS_OF, model_version=model.version))
    code, out, _ = run_models("show", "--version", model.version)
    assert code == 0
    for word in (
        "  in use",
        "data_until",
        "log_loss",
        "1 made with it",
        "promoted: better",
        "length and sha256 are right",
    ):
        assert word in out
    shares = list(model.base.metrics["importance"].items())
    tables = [line.split() for line in out.splitlines()]
    assert [line for line in tables if line[1:2] and line[1] in dict(shares)] == [
        [str(position), name, f"{share:.1%}"] for position, (name, share) in enumerate(shares[:15], start=1)
    ]
    left_out = sum(share for _, share in shares[15:])
    assert f"and {len(shares) - 15} features with {left_out:.1%} together (--json has all)" in out
    details = json.loads(run_models("show", "--version", model.version, "--json")[1])
    assert details["predictions"] == 1
    assert details["record"]["metrics"] == json.loads(json.dumps(model.base.metrics))
    assert [event["event"] for event in details["events"]] == ["promoted"]

    flip_bit_in_registry(engine, model.version)
    assert "sha256 check failed" in run_models("show", "--version", model.version)[1]


def flip_bit_in_registry(engine: Engine, version: str) -> None:
    """Flip one bit of a version's bytes in the registry."""
    statement = text(
        "UPDATE model_versions SET bytes = set_bit(bytes, 8000, 1 - get_bit(bytes, 8000)) WHERE version = :v"
    )
    with engine.begin() as connection:
        connection.execute(statement, {"v": version})


def test_unknown_version_error_names_the_nearest(run_models: RunModels, engine: Engine, model: HybridModel) -> None:
    save(engine, model, YES)
    for command, flag in (("show", "--version"), ("rollback", "--to")):
        line = refused(run_models, engine, command, flag, model.version[:-1] + "z")
        assert f"similar names there: {model.version}" in line
        assert "`hybrid-ml models list`" in line


# --- rollback


@pytest.mark.parametrize("former", ["retired", "rejected", "candidate"])
def test_rollback_changes_champion_events_and_model_file(
    run_models: RunModels, engine: Engine, home: Path, model: HybridModel, former: str
) -> None:
    first, second = later(model, 0), later(model, 7)
    save(engine, first, YES)
    save(engine, second, YES)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE model_versions SET status = :former WHERE version = :v"),
            {"former": former, "v": first.version},
        )
    code, out, err = run_models("rollback", "--to", first.version, "--reason", "too sure [since Sunday]")
    assert code == 0, err
    assert f"{first.version} is the champion of ABC in place of {second.version}" in out
    assert "at the next analysis" in out
    assert statuses(engine) == {first.version: "champion", second.version: "retired"}
    assert rows(engine, "SELECT event, version, previous, reason FROM model_events ORDER BY id DESC LIMIT 2") == [
        ("rolled back", first.version, second.version, "rolled back by hand: too sure [since Sunday]"),
        ("retired", second.version, None, f"replaced by {first.version}"),
    ]
    with engine.connect() as connection:
        serving = registry.find_serving(connection, "ABC", AS_OF + timedelta(days=9))
    assert serving is not None
    assert read_model(home / "models", serving.file, "ABC").version == first.version
    assert load_saved_model("ABC").version == first.version


def test_rollback_restores_the_newest_adapter_of_the_base(
    run_models: RunModels, engine: Engine, model: HybridModel
) -> None:
    save(engine, model, YES)
    newest_adapter = adapter(model, 10)
    trial(engine, model, newest_adapter, age=timedelta())
    save(engine, later(model, 7), YES)
    code, out, _ = run_models("rollback", "--to", model.version, "--json")
    assert code == 0
    assert json.loads(out)["serving"] == newest_adapter.version
    assert load_saved_model("ABC").version == newest_adapter.version


def test_model_file_of_a_second_symbol_has_its_own_folder(
    run_models: RunModels, engine: Engine, home: Path, model: HybridModel
) -> None:
    store_bars(engine, "AAA", simulate_bars(AS_OF, bars=10))
    save(engine, model, YES)
    save(engine, later(model, 7), YES)
    assert run_models("rollback", "--to", model.version)[0] == 0
    assert (home / "models" / "ABC" / "lightgbm_model.pkl").is_file()


def test_rollback_to_an_unusable_version_is_refused(run_models: RunModels, engine: Engine, model: HybridModel) -> None:
    first, second = later(model, 0), later(model, 7)
    save(engine, first, YES)
    save(engine, second, YES)
    newest_adapter = adapter(first, 10)
    trial(engine, first, newest_adapter, age=timedelta())
    message = refused(run_models, engine, "rollback", "--to", newest_adapter.version)
    assert f"is an adapter; roll back to its base with `hybrid-ml models rollback --to {first.version}`" in message
    assert "is the champion of ABC already" in refused(run_models, engine, "rollback", "--to", second.version)
    flip_bit_in_registry(engine, first.version)
    assert "are damaged: sha256 check failed" in refused(run_models, engine, "rollback", "--to", first.version)
    with engine.begin() as connection:
        connection.execute(text("UPDATE model_versions SET bytes = NULL WHERE version = :v"), {"v": first.version})
    assert f"the bytes of {first.version} are pruned" in refused(run_models, engine, "rollback", "--to", first.version)
    assert "are pruned" in refused(run_models, engine, "export", "--version", first.version, "--path", "x.model")


def test_concurrent_rollbacks_are_serialized(engine: Engine, model: HybridModel) -> None:
    versions = [later(model, days).version for days in (0, 1, 2, 3)]
    for days in (0, 1, 2, 3):
        save(engine, later(model, days), YES)

    def roll_back_to(version: str) -> None:
        roll_back(engine, load_settings(), version, "", datetime.now(UTC))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(roll_back_to, versions[:3]))
    captured = statuses(engine)
    assert sorted(captured.values()) == ["champion", "retired", "retired", "retired"]
    chain = rows(engine, "SELECT previous, version FROM model_events WHERE event = 'rolled back' ORDER BY id")
    assert [previous for previous, _ in chain] == [versions[3], *(version for _, version in chain[:-1])]
    assert captured[chain[-1][1]] == "champion"


def test_unwritable_models_folder_does_not_undo_a_rollback(
    run_models: RunModels, engine: Engine, home: Path, model: HybridModel
) -> None:
    save(engine, model, YES)
    second = later(model, 7)
    save(engine, second, YES)
    (home / "models").write_text("a file where the folder should be")
    code, _, err = run_models("rollback", "--to", model.version)
    assert code == 1
    assert f"{model.version} is in use from the next analysis on, but the models folder" in err
    assert statuses(engine)[model.version] == "champion"


# --- export and import


@pytest.fixture
def exported(run_models: RunModels, engine: Engine, model: HybridModel, tmp_path: Path) -> Path:
    """A base of ABC in a file, and an empty registry again."""
    path = tmp_path / "abc.model"
    save(engine, model, YES)
    code, out, err = run_models("export", "--version", model.version, "--path", str(path))
    assert code == 0, err
    assert f"{model.version} is in {path}" in out
    clear_registry(engine)
    return path


def clear_registry(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE model_versions, model_events"))


def with_checksum(path: Path, data: bytes) -> Path:
    """Write `data` with the header of `models export`."""
    header = f"hybrid-ml model 1 {len(data)} {hashlib.sha256(data).hexdigest()}\n"
    path.write_bytes(header.encode() + data)
    return path


def test_imported_model_becomes_champion_without_another(
    run_models: RunModels, engine: Engine, exported: Path, model: HybridModel, window: Window
) -> None:
    header = exported.read_bytes().split(b"\n", 1)[0].decode()
    assert re.fullmatch(r"hybrid-ml model 1 \d+ [0-9a-f]{64}", header)
    code, out, err = run_models("import", "--path", str(exported))
    assert code == 0, err
    assert f"{model.version} is in the registry\n  it is in use for ABC" in out
    assert statuses(engine) == {model.version: "champion"}
    assert rows(engine, "SELECT event, previous FROM model_events ORDER BY id") == [
        ("imported", None),
        ("promoted", None),
    ]
    features = window.rows.last(50).features
    assert (load_saved_model("ABC").probabilities(features) == model.probabilities(features)).all()

    before = registry_content(engine)
    code, out, _ = run_models("import", "--path", str(exported))
    assert code == 0
    assert "was in the registry already; nothing changed" in out
    assert registry_content(engine) == before


def test_imported_model_is_a_candidate_beside_a_champion(
    run_models: RunModels, engine: Engine, exported: Path, model: HybridModel
) -> None:
    champion = save(engine, later(model, 7), YES)
    code, out, _ = run_models("import", "--path", str(exported))
    assert code == 0
    assert f"{champion} is in use for ABC; `hybrid-ml models rollback --to {model.version}` switches to this one" in out
    assert statuses(engine) == {champion: "champion", model.version: "candidate"}
    assert run_models("rollback", "--to", model.version)[0] == 0
    assert statuses(engine) == {champion: "retired", model.version: "champion"}


def test_exported_adapter_includes_its_base(
    run_models: RunModels, engine: Engine, model: HybridModel, tmp_path: Path
) -> None:
    save(engine, model, YES)
    newest_adapter, kept_base = adapter(model, 10), adapter(model, 5, adopted=False)
    trial(engine, model, newest_adapter, age=timedelta())
    trial(engine, model, kept_base, age=timedelta())
    path = str(tmp_path / "adapted.model")
    assert run_models("export", "--version", newest_adapter.version, "--path", path)[0] == 0
    message = refused(run_models, engine, "export", "--version", kept_base.version, "--path", str(tmp_path / "other"))
    assert f"export that: --version {model.version}" in message
    clear_registry(engine)
    assert json.loads(run_models("import", "--path", path, "--json")[1])["serving"] == newest_adapter.version
    assert statuses(engine) == {model.version: "champion", newest_adapter.version: "adopted"}
    assert load_saved_model("ABC").version == newest_adapter.version


def test_import_restores_pruned_bytes(
    run_models: RunModels, engine: Engine, exported: Path, model: HybridModel
) -> None:
    save(engine, model, NO)
    save(engine, later(model, 7), YES)
    with engine.begin() as connection:
        connection.execute(text("UPDATE model_versions SET bytes = NULL WHERE status = 'rejected'"))
    assert json.loads(run_models("import", "--path", str(exported), "--json")[1])["changed"] is True
    assert statuses(engine)[model.version] == "rejected"
    assert run_models("rollback", "--to", model.version)[0] == 0


def test_export_overwrites_no_file(run_models: RunModels, engine: Engine, model: HybridModel, tmp_path: Path) -> None:
    save(engine, model, YES)
    existing = tmp_path / "there"
    existing.write_text("mine")
    assert "exists already" in refused(
        run_models, engine, "export", "--version", model.version, "--path", str(existing)
    )
    assert existing.read_text() == "mine"
    missing = str(tmp_path / "no" / "folder")
    message = refused(run_models, engine, "export", "--version", model.version, "--path", missing)
    assert "cannot be written: No such file or directory" in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch hostile-was-here",)


def flip_bit(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def model_file(base: Any, **changes: Any) -> bytes:
    """A valid model file of a base with changed fields."""
    return pack_file(HybridModel(pack(replace(base, **changes))))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda _: b"", "is empty"),
        (lambda data: b"PK\x03\x04 some other file\n" + data, "is no model file"),
        (lambda _: b"\x00" * 5_000, "is no model file"),
        (lambda data: data.replace(b"model 1 ", b"model 2 ", 1), "of format 2; this program reads format 1"),
        (lambda data: re.sub(rb"model 1 \d+", b"model 1 999999999999", data, count=1), "length check failed"),
        (lambda data: data[:-1], "length check failed"),
        (lambda data: data[: len(data) // 2], "length check failed"),
        (lambda data: data + b"x", "length check failed"),
        (lambda data: flip_bit(data, len(data) // 2), "sha256 check failed"),
        (lambda data: flip_bit(data, len(data) - 1), "sha256 check failed"),
    ],
    ids=[
        "empty", "another kind", "zeros", "another format", "absurd length", "a byte short", "half", "a byte more",
        "a bit in the middle", "the last bit",
    ],
)  # fmt: skip
def test_damaged_export_is_refused(
    run_models: RunModels, engine: Engine, exported: Path, damage: Callable[[bytes], bytes], message: str
) -> None:
    exported.write_bytes(damage(exported.read_bytes()))
    assert message in refused(run_models, engine, "import", "--path", str(exported))


def test_import_of_a_missing_or_special_file_is_refused(run_models: RunModels, engine: Engine, tmp_path: Path) -> None:
    assert "no such file" in refused(run_models, engine, "import", "--path", str(tmp_path / "nowhere"))
    assert "is not a file" in refused(run_models, engine, "import", "--path", str(tmp_path))
    assert "is not a file" in refused(run_models, engine, "import", "--path", "/dev/zero")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"feature_names": ("one", "two")}, "feature check failed"),
        ({"classes": ("up", "down")}, "class check failed"),
        ({"symbol": "a@b"}, "cannot name a symbol"),
        ({"symbol": "a\x00"}, "cannot name a symbol"),
        ({"kind": "adapter"}, "format check failed: kind"),
        ({"week": -1}, "format check failed: week"),
        ({"rows": 2**40}, "format check failed: rows"),
        ({"temperature": 0.0}, "format check failed: temperature"),
        ({"label_threshold": float("nan")}, "format check failed: label_threshold"),
        ({"metrics": {"accuracy": "high"}}, "format check failed: metrics: accuracy is no number"),
        ({"metrics": {"note": float("nan")}}, "format check failed"),
        ({"metrics": {"note": "a\x00b"}}, "format check failed"),
        ({"trained_until": datetime(2024, 1, 1)}, "format check failed: trained_until"),  # noqa: DTZ001
        ({"data_until": datetime(2999, 1, 1, tzinfo=UTC)}, "time check failed"),
        ({"trained_until": datetime(2999, 1, 1, tzinfo=UTC)}, "time check failed: trained_until"),
        ({"as_of": datetime(2999, 1, 1, tzinfo=UTC)}, "time check failed: as_of"),
        ({"parameters": {"lambda_l2": 20.0}}, "format check failed: parameters.learning_rate"),
    ],
)
def test_model_with_invalid_fields_is_refused(
    run_models: RunModels, engine: Engine, model: HybridModel, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = with_checksum(tmp_path / "odd.model", model_file(model.base, **changes))
    assert message in refused(run_models, engine, "import", "--path", str(path))


def test_malicious_pickle_executes_nothing(
    run_models: RunModels, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    inner = pickle.dumps({"format": 1, "base": pickle.dumps(Malicious()), "adapter": None})
    for name, data in (("outer.model", pickle.dumps(Malicious())), ("inner.model", inner)):
        message = refused(run_models, engine, "import", "--path", str(with_checksum(tmp_path / name, data)))
        assert "pickle check failed: it contains the operation " in message
    assert not (tmp_path / "hostile-was-here").exists()


@pytest.mark.parametrize(
    "damage",
    [
        # The same length as before, because LightGBM aborts on wrong lengths in the header.
        lambda trees: trees.replace("left_child=-1", "left_child=00", 1),  # a circle
        lambda trees: trees.replace("right_child=-2", "right_child=99", 1),
        lambda trees: trees.replace("right_child=-2", "right_child=-9", 1),
        lambda trees: trees.replace("right_child=-2", "right_child=-1", 1),
        lambda trees: re.sub(r"split_feature=\d\d", "split_feature=99", trees, count=1),
        lambda trees: re.sub(r"num_leaves=\d", "num_leaves=9", trees, count=1),
        lambda trees: trees.replace("threshold=-", "threshold=x", 1),
        lambda trees: trees.replace("max_feature_idx=49", "max_feature_idx=3", 1),
        lambda trees: trees.replace("num_class=3", "num_class=1", 1),
        lambda trees: trees.replace("tree_sizes=", "tree_sizes=9", 1),
        lambda trees: "\nTree=" * trees.count("\nTree="),
    ],
    ids=[
        "circle", "no such child", "no such leaf", "a leaf twice", "no such feature", "leaves", "text", "features",
        "classes", "lengths", "nothing but names",
    ],
)  # fmt: skip
def test_inconsistent_trees_crash_only_the_child_process(
    run_models: RunModels, engine: Engine, model: HybridModel, tmp_path: Path, damage: Callable[[str], str]
) -> None:
    trees = damage(model.base.trees)
    assert trees != model.base.trees
    path = with_checksum(tmp_path / "wrong.model", model_file(model.base, trees=trees))
    assert "trial failed: " in refused(run_models, engine, "import", "--path", str(path))


def test_missing_leaf_values_are_refused(
    run_models: RunModels, engine: Engine, model: HybridModel, tmp_path: Path
) -> None:
    data = model_file(model.base, leaf_values=model.base.leaf_values[:, :2])
    message = refused(run_models, engine, "import", "--path", str(with_checksum(tmp_path / "few.model", data)))
    assert "trial failed: a tree has more leaves than there are leaf values" in message


def test_model_check_in_a_child_process_has_a_timeout(model: HybridModel) -> None:
    with pytest.raises(ModelUnavailable, match=r"did not answer within 0\.01 s"):
        sandbox.try_in_child(pack_file(model), timeout_seconds=0.01)


# --- as a user runs the commands


def run_program(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = str(Path(sys.executable).with_name("hybrid-ml"))
    return subprocess.run(
        [program, "models", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


def test_documented_model_commands_work(engine: Engine, model: HybridModel, tmp_path: Path) -> None:
    first, second = later(model, 0), later(model, 7)
    save(engine, first, YES)
    save(engine, second, YES)
    path = str(tmp_path / "first.model")
    for arguments in (
        ["list", "--symbol", "ABC", "--all"],
        ["show", "--version", first.version],
        ["export", "--version", first.version, "--path", path],
        ["rollback", "--to", first.version, "--reason", "better before"],
        ["import", "--path", path],
    ):
        done = run_program(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert first.version in done.stdout
    incomplete = run_program("rollback")
    assert (incomplete.returncode, incomplete.stdout) == (2, "")
    assert "--to is required" in incomplete.stderr


def test_list_and_show_load_no_heavy_library(engine: Engine, model: HybridModel) -> None:
    save(engine, model, YES)
    program = (
        "import sys\nfrom hybrid_ml.cli.__main__ import main\n"
        f"main(['models', 'list', '--json'])\nmain(['models', 'show', '--version', '{model.version}', '--json'])\n"
        "print(sorted({'prefect', 'pandas', 'lightgbm', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_help_has_examples(run_models: RunModels) -> None:
    for name in ("list", "show", "rollback", "export", "import"):
        code, out, _ = run_models(name, "--help")
        assert code == 0
        assert f"examples: hybrid-ml models {name}" in out
        assert "--json" in out
