"""`hybrid-ml models`: looking, rolling back, exporting, importing; and files that mean no good."""

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

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Say:
    """Run `hybrid-ml models …` in this process; exit code, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = 0
        try:
            main(["models", *arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        found = capsys.readouterr()
        return code, found.out, found.err

    from hybrid_ml.console import terminal

    monkeypatch.setattr(terminal.out, "_file", None)  # the console writes to whatever stdout is now
    return run


def registry_now(engine: Engine) -> list[tuple[Any, ...]]:
    """All of the registry that a refusal must leave alone."""
    return [
        *rows(engine, "SELECT version, status, reason, md5(bytes) FROM model_versions ORDER BY 1"),
        *rows(engine, "SELECT id, event, version FROM model_events ORDER BY 1"),
    ]


def refused(say: Say, engine: Engine, *arguments: str) -> str:
    """The one line a command is refused with, the registry being what it was."""
    before = registry_now(engine)
    code, out, err = say(*arguments)
    assert (code, out) == (1, "")
    assert registry_now(engine) == before
    (line,) = err.splitlines()
    return line


# --- list and show


def test_an_empty_registry_says_how_to_fill_it(say: Say, engine: Engine) -> None:
    code, out, _ = say("list")
    assert code == 0
    assert "no models in the registry yet; train one with `hybrid-ml train`" in out


def test_the_list_has_bases_newest_first_and_says_which_serves(say: Say, engine: Engine, model: HybridModel) -> None:
    first, second, worse = later(model, 0), later(model, 7), later(model, 14)
    save(engine, first, YES, age=timedelta(days=14))
    save(engine, second, YES, age=timedelta(days=7))
    save(engine, worse, NO)
    made = adapter(second, 8 * 1440)
    trial(engine, second, made, age=timedelta())
    code, out, _ = say("list")
    assert code == 0
    assert f"{made.version} serves now" in out
    assert out.index(worse.version) < out.index(second.version) < out.rindex(first.version)
    metrics = model.base.metrics
    assert f"{metrics['accuracy']:.3f}/{metrics['majority_accuracy']:.3f}" in out
    assert f"{metrics['log_loss']:.4f}/{metrics['prior_log_loss']:.4f}" in out
    assert "rejected" in out

    listing = json.loads(say("list", "--symbol", "ABC", "--json")[1])
    assert listing["serving"] == {"ABC": made.version}
    assert [line["version"] for line in listing["models"]] == [worse.version, second.version, first.version]
    everything = json.loads(say("list", "--all", "--json")[1])["models"]
    (line,) = [line for line in everything if line["kind"] == "adapter"]
    assert (line["version"], line["parent"], line["serves"]) == (made.version, second.version, True)


@pytest.mark.parametrize("importance", ["none", {"return_1": "much"}, {}])
def test_importance_of_another_kind_is_shown_as_it_is(
    say: Say, engine: Engine, model: HybridModel, importance: object
) -> None:
    odd = HybridModel(pack(replace(model.base, metrics={**model.base.metrics, "importance": importance})))
    save(engine, odd, YES)
    code, out, _ = say("show", "--version", odd.version)
    assert code == 0
    assert (f"importance: {json.dumps(importance)}" in out) == bool(importance)
    assert "share of the gain" not in out


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    """A terminal of 80 columns; what is on it."""
    screen = StringIO()
    console = Console(file=screen, width=80, force_terminal=True, color_system=None, highlight=False, soft_wrap=True)
    monkeypatch.setattr(registry_tables, "out", console)
    return screen


@pytest.mark.parametrize("symbol", ["ABC", "NIFTY50", "A" * 25])
def test_a_narrow_terminal_gets_whole_versions_and_fewer_columns(
    say: Say, engine: Engine, model: HybridModel, narrow: StringIO, symbol: str
) -> None:
    named = HybridModel(pack(replace(model.base, symbol=symbol)))
    save(engine, named, replace(YES, reason=f"{'a reason of many words ' * 20}"))
    assert say("list")[0] == 0
    lines = narrow.getvalue().splitlines()
    assert [line.split()[-1] for line in lines if named.version in line] == ["now", "champion"]
    assert max(map(len, lines)) <= 80
    foot = " ".join(narrow.getvalue().split()).partition("left out in a narrow terminal: ")[2]
    assert foot.startswith("kind, log loss/prior")
    assert foot.endswith("(--json has all)")
    assert ("accuracy" in foot) == (len(symbol) == 25), "no more than must be"


def test_a_version_longer_than_the_terminal_makes_its_line_longer(
    say: Say, engine: Engine, model: HybridModel, narrow: StringIO
) -> None:
    named = HybridModel(pack(replace(model.base, symbol="A" * 64)))
    save(engine, named, YES)
    assert say("list")[0] == 0
    assert len([line for line in narrow.getvalue().splitlines() if named.version in line]) == 2


def test_the_list_of_an_unknown_symbol_names_the_known_ones(say: Say, engine: Engine, model: HybridModel) -> None:
    save(engine, model, YES)
    assert refused(say, engine, "list", "--symbol", "XYZ").endswith(
        "no models of XYZ in the registry (symbols there: ABC)"
    )


def test_markup_in_names_and_reasons_is_only_text(say: Say, engine: Engine, model: HybridModel) -> None:
    named = HybridModel(pack(replace(model.base, symbol="[red]A" + 58 * "b")))
    save(engine, named, replace(YES, reason="[bold]because[/nothing]"))
    for arguments in (["list"], ["show", "--version", named.version]):
        code, out, _ = say(*arguments)
        assert code == 0
        assert named.version in out
        assert "[/nothing]" in out


def test_show_tells_everything_and_checks_the_bytes(say: Say, engine: Engine, model: HybridModel) -> None:
    save(engine, model, YES)
    with engine.begin() as connection:
        predictions.record(connection, prediction(AS_OF, model_version=model.version))
    code, out, _ = say("show", "--version", model.version)
    assert code == 0
    for word in (
        "serves now",
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
        [str(place), name, f"{share:.1%}"] for place, (name, share) in enumerate(shares[:15], start=1)
    ]
    left_out = sum(share for _, share in shares[15:])
    assert f"and {len(shares) - 15} features with {left_out:.1%} together (--json has all)" in out
    details = json.loads(say("show", "--version", model.version, "--json")[1])
    assert details["predictions"] == 1
    assert details["record"]["metrics"] == json.loads(json.dumps(model.base.metrics))
    assert [event["event"] for event in details["events"]] == ["promoted"]

    spoil(engine, model.version)
    assert "sha256 check failed" in say("show", "--version", model.version)[1]


def spoil(engine: Engine, version: str) -> None:
    """Flip one bit of a version's bytes in the registry."""
    statement = text(
        "UPDATE model_versions SET bytes = set_bit(bytes, 8000, 1 - get_bit(bytes, 8000)) WHERE version = :v"
    )
    with engine.begin() as connection:
        connection.execute(statement, {"v": version})


def test_an_unknown_version_is_answered_with_the_nearest(say: Say, engine: Engine, model: HybridModel) -> None:
    save(engine, model, YES)
    for command, flag in (("show", "--version"), ("rollback", "--to")):
        line = refused(say, engine, command, flag, model.version[:-1] + "z")
        assert f"the nearest there: {model.version}" in line
        assert "`hybrid-ml models list`" in line


# --- rollback


@pytest.mark.parametrize("former", ["retired", "rejected", "candidate"])
def test_a_rollback_is_one_change_with_its_event_and_its_file(
    say: Say, engine: Engine, home: Path, model: HybridModel, former: str
) -> None:
    first, second = later(model, 0), later(model, 7)
    save(engine, first, YES)
    save(engine, second, YES)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE model_versions SET status = :former WHERE version = :v"),
            {"former": former, "v": first.version},
        )
    code, out, err = say("rollback", "--to", first.version, "--reason", "too sure [since Sunday]")
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


def test_a_rollback_brings_the_bases_newest_adapter_back(say: Say, engine: Engine, model: HybridModel) -> None:
    save(engine, model, YES)
    made = adapter(model, 10)
    trial(engine, model, made, age=timedelta())
    save(engine, later(model, 7), YES)
    code, out, _ = say("rollback", "--to", model.version, "--json")
    assert code == 0
    assert json.loads(out)["serving"] == made.version
    assert load_saved_model("ABC").version == made.version


def test_the_copy_of_another_symbol_lies_in_a_folder_of_its_own(
    say: Say, engine: Engine, home: Path, model: HybridModel
) -> None:
    store_bars(engine, "AAA", simulate_bars(AS_OF, bars=10))
    save(engine, model, YES)
    save(engine, later(model, 7), YES)
    assert say("rollback", "--to", model.version)[0] == 0
    assert (home / "models" / "ABC" / "lightgbm_model.pkl").is_file()


def test_what_cannot_serve_is_refused(say: Say, engine: Engine, model: HybridModel) -> None:
    first, second = later(model, 0), later(model, 7)
    save(engine, first, YES)
    save(engine, second, YES)
    made = adapter(first, 10)
    trial(engine, first, made, age=timedelta())
    message = refused(say, engine, "rollback", "--to", made.version)
    assert f"is an adapter; roll back to its base with `hybrid-ml models rollback --to {first.version}`" in message
    assert "is the champion of ABC already" in refused(say, engine, "rollback", "--to", second.version)
    spoil(engine, first.version)
    assert "are damaged: sha256 check failed" in refused(say, engine, "rollback", "--to", first.version)
    with engine.begin() as connection:
        connection.execute(text("UPDATE model_versions SET bytes = NULL WHERE version = :v"), {"v": first.version})
    assert f"the bytes of {first.version} are pruned" in refused(say, engine, "rollback", "--to", first.version)
    assert "are pruned" in refused(say, engine, "export", "--version", first.version, "--path", "x.model")


def test_rollbacks_at_the_same_moment_take_turns(engine: Engine, model: HybridModel) -> None:
    versions = [later(model, days).version for days in (0, 1, 2, 3)]
    for days in (0, 1, 2, 3):
        save(engine, later(model, days), YES)

    def roll_back_to(version: str) -> None:
        roll_back(engine, load_settings(), version, "", datetime.now(UTC))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(roll_back_to, versions[:3]))
    found = statuses(engine)
    assert sorted(found.values()) == ["champion", "retired", "retired", "retired"]
    chain = rows(engine, "SELECT previous, version FROM model_events WHERE event = 'rolled back' ORDER BY id")
    assert [previous for previous, _ in chain] == [versions[3], *(version for _, version in chain[:-1])]
    assert found[chain[-1][1]] == "champion"


def test_a_folder_that_cannot_be_written_does_not_undo_a_rollback(
    say: Say, engine: Engine, home: Path, model: HybridModel
) -> None:
    save(engine, model, YES)
    second = later(model, 7)
    save(engine, second, YES)
    (home / "models").write_text("a file where the folder should be")
    code, _, err = say("rollback", "--to", model.version)
    assert code == 1
    assert f"{model.version} serves from the next analysis on, but the models folder" in err
    assert statuses(engine)[model.version] == "champion"


# --- export and import


@pytest.fixture
def exported(say: Say, engine: Engine, model: HybridModel, tmp_path: Path) -> Path:
    """A base of ABC in a file, and an empty registry again."""
    path = tmp_path / "abc.model"
    save(engine, model, YES)
    code, out, err = say("export", "--version", model.version, "--path", str(path))
    assert code == 0, err
    assert f"{model.version} is in {path}" in out
    forget_all(engine)
    return path


def forget_all(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE model_versions, model_events"))


def sealed(path: Path, data: bytes) -> Path:
    """A file as `models export` would write it, whatever `data` is."""
    header = f"hybrid-ml model 1 {len(data)} {hashlib.sha256(data).hexdigest()}\n"
    path.write_bytes(header.encode() + data)
    return path


def test_a_model_carried_over_serves_where_nothing_does(
    say: Say, engine: Engine, exported: Path, model: HybridModel, window: Window
) -> None:
    header = exported.read_bytes().split(b"\n", 1)[0].decode()
    assert re.fullmatch(r"hybrid-ml model 1 \d+ [0-9a-f]{64}", header)
    code, out, err = say("import", "--path", str(exported))
    assert code == 0, err
    assert f"{model.version} is in the registry\n  it serves ABC" in out
    assert statuses(engine) == {model.version: "champion"}
    assert rows(engine, "SELECT event, previous FROM model_events ORDER BY id") == [
        ("imported", None),
        ("promoted", None),
    ]
    features = window.rows.last(50).features
    assert (load_saved_model("ABC").probabilities(features) == model.probabilities(features)).all()

    before = registry_now(engine)
    code, out, _ = say("import", "--path", str(exported))
    assert code == 0
    assert "was in the registry already; nothing changed" in out
    assert registry_now(engine) == before


def test_a_model_brought_to_a_champion_waits_to_be_asked_for(
    say: Say, engine: Engine, exported: Path, model: HybridModel
) -> None:
    champion = save(engine, later(model, 7), YES)
    code, out, _ = say("import", "--path", str(exported))
    assert code == 0
    assert f"{champion} serves ABC; `hybrid-ml models rollback --to {model.version}` makes this one serve" in out
    assert statuses(engine) == {champion: "champion", model.version: "candidate"}
    assert say("rollback", "--to", model.version)[0] == 0
    assert statuses(engine) == {champion: "retired", model.version: "champion"}


def test_an_adapter_travels_with_its_base(say: Say, engine: Engine, model: HybridModel, tmp_path: Path) -> None:
    save(engine, model, YES)
    made, kept_base = adapter(model, 10), adapter(model, 5, adopted=False)
    trial(engine, model, made, age=timedelta())
    trial(engine, model, kept_base, age=timedelta())
    path = str(tmp_path / "adapted.model")
    assert say("export", "--version", made.version, "--path", path)[0] == 0
    message = refused(say, engine, "export", "--version", kept_base.version, "--path", str(tmp_path / "other"))
    assert f"export that: --version {model.version}" in message
    forget_all(engine)
    assert json.loads(say("import", "--path", path, "--json")[1])["serving"] == made.version
    assert statuses(engine) == {model.version: "champion", made.version: "adopted"}
    assert load_saved_model("ABC").version == made.version


def test_an_import_puts_pruned_bytes_back(say: Say, engine: Engine, exported: Path, model: HybridModel) -> None:
    save(engine, model, NO)
    save(engine, later(model, 7), YES)
    with engine.begin() as connection:
        connection.execute(text("UPDATE model_versions SET bytes = NULL WHERE status = 'rejected'"))
    assert json.loads(say("import", "--path", str(exported), "--json")[1])["changed"] is True
    assert statuses(engine)[model.version] == "rejected"
    assert say("rollback", "--to", model.version)[0] == 0


def test_an_export_overwrites_nothing(say: Say, engine: Engine, model: HybridModel, tmp_path: Path) -> None:
    save(engine, model, YES)
    there = tmp_path / "there"
    there.write_text("mine")
    assert "is there already" in refused(say, engine, "export", "--version", model.version, "--path", str(there))
    assert there.read_text() == "mine"
    missing = str(tmp_path / "no" / "folder")
    message = refused(say, engine, "export", "--version", model.version, "--path", missing)
    assert "cannot be written: No such file or directory" in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch hostile-was-here",)


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def without_a_champion(base: Any, **changes: Any) -> bytes:
    """The serving file of a base with other particulars, whole in itself."""
    return pack_file(HybridModel(pack(replace(base, **changes))))


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        (lambda _: b"", "is empty"),
        (lambda data: b"PK\x03\x04 some other file\n" + data, "is not a model of ours"),
        (lambda _: b"\x00" * 5_000, "is not a model of ours"),
        (lambda data: data.replace(b"model 1 ", b"model 2 ", 1), "of format 2; this program reads format 1"),
        (lambda data: re.sub(rb"model 1 \d+", b"model 1 999999999999", data, count=1), "length check failed"),
        (lambda data: data[:-1], "length check failed"),
        (lambda data: data[: len(data) // 2], "length check failed"),
        (lambda data: data + b"x", "length check failed"),
        (lambda data: flipped(data, len(data) // 2), "sha256 check failed"),
        (lambda data: flipped(data, len(data) - 1), "sha256 check failed"),
    ],
    ids=[
        "empty", "another kind", "zeros", "another format", "absurd length", "a byte short", "half", "a byte more",
        "a bit in the middle", "the last bit",
    ],
)  # fmt: skip
def test_a_file_that_is_not_what_was_written_is_refused(
    say: Say, engine: Engine, exported: Path, spoilt: Callable[[bytes], bytes], message: str
) -> None:
    exported.write_bytes(spoilt(exported.read_bytes()))
    assert message in refused(say, engine, "import", "--path", str(exported))


def test_what_is_no_file_is_refused(say: Say, engine: Engine, tmp_path: Path) -> None:
    assert "no such file" in refused(say, engine, "import", "--path", str(tmp_path / "nowhere"))
    assert "is not a file" in refused(say, engine, "import", "--path", str(tmp_path))
    assert "is not a file" in refused(say, engine, "import", "--path", "/dev/zero")


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
def test_particulars_that_cannot_be_are_refused(
    say: Say, engine: Engine, model: HybridModel, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = sealed(tmp_path / "odd.model", without_a_champion(model.base, **changes))
    assert message in refused(say, engine, "import", "--path", str(path))


def test_a_hostile_pickle_calls_nothing(
    say: Say, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    inner = pickle.dumps({"format": 1, "base": pickle.dumps(Hostile()), "adapter": None})
    for name, data in (("outer.model", pickle.dumps(Hostile())), ("inner.model", inner)):
        message = refused(say, engine, "import", "--path", str(sealed(tmp_path / name, data)))
        assert "pickle check failed: it holds the operation " in message
    assert not (tmp_path / "hostile-was-here").exists()


@pytest.mark.parametrize(
    "damage",
    [
        # The same length as before: LightGBM aborts at once where the lengths in the header are wrong.
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
def test_trees_that_are_whole_but_wrong_cost_the_child_alone(
    say: Say, engine: Engine, model: HybridModel, tmp_path: Path, damage: Callable[[str], str]
) -> None:
    trees = damage(model.base.trees)
    assert trees != model.base.trees
    path = sealed(tmp_path / "wrong.model", without_a_champion(model.base, trees=trees))
    assert "trial failed: " in refused(say, engine, "import", "--path", str(path))


def test_fewer_leaf_values_than_leaves_are_found_before_a_question_is(
    say: Say, engine: Engine, model: HybridModel, tmp_path: Path
) -> None:
    data = without_a_champion(model.base, leaf_values=model.base.leaf_values[:, :2])
    message = refused(say, engine, "import", "--path", str(sealed(tmp_path / "few.model", data)))
    assert "trial failed: a tree has more leaves than there are leaf values" in message


def test_a_child_that_does_not_answer_is_not_waited_for(model: HybridModel) -> None:
    with pytest.raises(ModelUnavailable, match=r"did not answer within 0\.01 s"):
        sandbox.try_in_child(pack_file(model), timeout_seconds=0.01)


# --- as a user runs them


def as_user(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = str(Path(sys.executable).with_name("hybrid-ml"))
    return subprocess.run(
        [program, "models", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


def test_the_commands_work_word_for_word(engine: Engine, model: HybridModel, tmp_path: Path) -> None:
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
        done = as_user(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert first.version in done.stdout
    refusal = as_user("show", "--version", "ABC@nothing")
    assert (refusal.returncode, refusal.stdout, refusal.stderr.count("\n")) == (1, "", 1)
    misused = as_user("rollback")
    assert (misused.returncode, misused.stdout) == (2, "")
    assert "--to is required" in misused.stderr


def test_looking_at_the_registry_loads_nothing_heavy(engine: Engine, model: HybridModel) -> None:
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


def test_help_teaches_with_examples() -> None:
    for name in ("list", "show", "rollback", "export", "import"):
        done = as_user(name, "--help")
        assert done.returncode == 0
        assert f"examples: hybrid-ml models {name}" in done.stdout
        assert "--json" in done.stdout
