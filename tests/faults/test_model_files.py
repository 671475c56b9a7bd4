"""Damaged, foreign and malicious models in the local file and in the registry."""

import json
import pickle
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from hybrid_ml.config.settings import load_settings
from hybrid_ml.errors import ModelUnavailable
from hybrid_ml.learning.model_bytes import pack_file
from hybrid_ml.pipeline.run import Run, make_run
from hybrid_ml.registry.access import load_saved_model
from hybrid_ml.schemas.requests import AnalysisRequest
from hybrid_ml.store import model_registry as registry
from hybrid_ml.store.model_files import MODEL_FILE, read_model
from tasks.load import load_model
from tests.faults.conftest import ANALYSIS, Installation, timed
from tests.faults.sample import sample
from tests.faults.table import FaultRows
from tests.flows.running import AS_OF, analyze, train

PLACES = 20
PICKLE_MARKER = Path("/tmp/hybrid-ml-hostile-pickle-was-here")  # noqa: S108  # the malicious pickle would create it
HOSTILE = f"cposix\nsystem\n(S'touch {PICKLE_MARKER}'\ntR.".encode()
Damage = Callable[[bytes], bytes]


def truncate(part: int) -> Damage:
    return lambda data: data[: len(data) * part // PLACES]


def flip_bit(part: int) -> Damage:
    def damage(data: bytes) -> bytes:
        position = (2 * part + 1) * len(data) // (2 * PLACES)
        return data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :]

    return damage


def change_symbol(data: bytes) -> bytes:
    return data.replace(b"ABC", b"XYZ")


def change_features(data: bytes) -> bytes:
    return data.replace(b"volatility_", b"velocities_")


DAMAGES: dict[str, Damage] = {
    **{f"truncated at {part} of {PLACES}": truncate(part) for part in range(PLACES)},
    **{f"one bit flipped in part {part + 1} of {PLACES}": flip_bit(part) for part in range(PLACES)},
    "emptied": lambda _: b"",
    "another symbol's": change_symbol,
    "one with other features": change_features,
    "a hostile pickle": lambda _: HOSTILE,
    "a pickle of something else": lambda _: pickle.dumps({"format": 1, "base": [1, 2, 3]}),
    "twice as long": lambda data: data + data,
}


SAMPLE = [
    "truncated at 0 of 20",
    "truncated at 10 of 20",
    "one bit flipped in part 3 of 20",
    "one bit flipped in part 20 of 20",
    "another symbol's",
    "one with other features",
    "a hostile pickle",
]


def current_probabilities(installation: Installation) -> list[float]:
    """Probabilities of the current model for fixed features, to compare before and after a fault."""
    model = load_saved_model("ABC", AS_OF)
    features = np.random.default_rng(0).normal(size=(5, len(model.base.feature_names))).astype(np.float32)
    return model.probabilities(features).ravel().tolist()


@pytest.mark.parametrize("name", sample(DAMAGES, *SAMPLE))
def test_damaged_model_file_is_rebuilt_from_registry(
    installation: Installation, faults: FaultRows, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    path = installation.models / MODEL_FILE
    good, answers = path.read_bytes(), current_probabilities(installation)
    damaged = DAMAGES[name](good)
    assert damaged != good
    path.write_bytes(damaged)
    reason = refusal(installation)
    assert "check failed" in reason
    loaded, seconds = timed(lambda: load_model.fn("ABC", run_of(installation)))
    assert loaded.problem is None
    assert path.read_bytes() == good
    assert current_probabilities(installation) == answers
    assert not PICKLE_MARKER.exists()
    faults.add(f"model file {name}", f"{reason.split(': ', 1)[1].split(':')[0]}; rebuilt from the registry", seconds)


def run_of(installation: Installation) -> Run:
    """The run context of an analysis of ABC."""
    return make_run(AnalysisRequest(**ANALYSIS), load_settings(), ["ABC"], AS_OF)


def refusal(installation: Installation) -> str:
    """The error of loading the local file."""
    with installation.engine.connect() as connection:
        serving = registry.find_serving(connection, "ABC", AS_OF)
    assert serving is not None
    with pytest.raises(ModelUnavailable) as raised:
        read_model(installation.models, serving.file, "ABC")
    return str(raised.value)


@pytest.mark.parametrize("name", sample(["removed", "a folder in its place", "a link to nowhere"], "removed"))
def test_missing_or_unreadable_model_file_is_rebuilt_from_registry(
    installation: Installation, faults: FaultRows, name: str
) -> None:
    path = installation.models / MODEL_FILE
    good, answers = path.read_bytes(), current_probabilities(installation)
    path.unlink()
    if name == "a folder in its place":
        path.mkdir()
    elif name == "a link to nowhere":
        path.symlink_to(installation.models / "nowhere")
    reason = refusal(installation)
    assert "is missing" in reason or "cannot be read" in reason
    answer, seconds = timed(lambda: analyze(**ANALYSIS, fast_mode=True))
    assert not answer.fell_back
    assert current_probabilities(installation) == answers
    if name != "a folder in its place":
        assert path.read_bytes() == good
    faults.add(f"model file {name}", f"{reason.rsplit('/', 1)[1]}; served from the registry", seconds)


@pytest.mark.parametrize("name", sample(DAMAGES, *SAMPLE))
def test_damaged_registry_bytes_are_reported_and_model_file_is_used(
    installation: Installation, faults: FaultRows, name: str
) -> None:
    answers = current_probabilities(installation)
    damage_registry(installation, DAMAGES[name])
    with installation.engine.connect() as connection:
        serving = registry.find_serving(connection, "ABC", AS_OF)
        assert serving is not None
        with pytest.raises(ModelUnavailable, match="check failed") as raised:
            registry.fetch(connection, serving)
    (loaded, seconds) = timed(lambda: current_probabilities(installation))
    assert loaded == answers
    assert not PICKLE_MARKER.exists()
    message = str(raised.value).split(":")[0]
    faults.add(f"registry bytes {name}", f"{message}; the local file, whole, serves", seconds)


@pytest.mark.parametrize(
    "name", sample(["emptied", "truncated at 10 of 20", "one bit flipped in part 11 of 20"], "emptied")
)
def test_damaged_registry_and_model_file_cause_training_from_scratch(
    installation: Installation, faults: FaultRows, name: str
) -> None:
    damage_registry(installation, DAMAGES[name])
    path = installation.models / MODEL_FILE
    path.write_bytes(DAMAGES[name](path.read_bytes()))
    answer, seconds = timed(lambda: analyze(**ANALYSIS, fast_mode=True))
    assert answer.fell_back
    assert "the saved model cannot be used" in str(answer.fallback)
    assert answer.model.kind == "scratch"
    champions = installation.rows("SELECT kind FROM model_versions WHERE status = 'champion'")
    assert champions == [("scratch",)]
    assert not analyze(**{**ANALYSIS, "fast_mode": True}).fell_back
    faults.add(f"registry bytes and model file {name}", "trained from scratch, which serves", seconds)


def damage_registry(installation: Installation, damage: Damage) -> None:
    """Damage the champion's bytes in its row; length and sha256 are unchanged."""
    (data,) = installation.rows("SELECT bytes FROM model_versions WHERE status = 'champion'")[0]
    with installation.engine.begin() as connection:
        connection.execute(
            text("UPDATE model_versions SET bytes = :data WHERE status = 'champion'"), {"data": damage(bytes(data))}
        )


def test_model_file_of_another_symbol_is_replaced(installation: Installation, faults: FaultRows) -> None:
    """An undamaged file of this program, but for the symbol XYZ."""
    model = load_saved_model("ABC", AS_OF)
    path = installation.models / MODEL_FILE
    good = path.read_bytes()
    path.write_bytes(pack_file(model).replace(b"ABC", b"XYZ"))
    _, seconds = timed(lambda: analyze(**ANALYSIS, fast_mode=True))
    assert path.read_bytes() == good
    metadata = json.loads(next(installation.models.glob("model_metadata_*.json")).read_text())
    assert metadata["symbol"] == "ABC"
    faults.add("model file of another symbol, whole", "sha256 check failed; rebuilt from the registry", seconds)


def test_damaged_adapter_falls_back_to_its_base(installation: Installation, faults: FaultRows) -> None:
    first = analyze(**ANALYSIS)
    assert first.model.kind == "adapter"
    with installation.engine.begin() as connection:
        connection.execute(text("UPDATE model_versions SET bytes = 'x' WHERE kind = 'adapter'"))
    (installation.models / MODEL_FILE).unlink()
    later = AS_OF + timedelta(minutes=10)
    answer, seconds = timed(lambda: analyze(**{**ANALYSIS, "as_of": later, "fast_mode": True}))
    assert (answer.fell_back, answer.model.kind, answer.problems) == (False, "base", [])
    again = analyze(**{**ANALYSIS, "as_of": later + timedelta(minutes=10)})
    assert again.model.kind == "adapter"
    assert (installation.models / MODEL_FILE).is_file()
    faults.add("adapter's bytes damaged, model file gone", "the base answers alone; a new adapter follows", seconds)


def test_damaged_champion_is_restored_before_it_is_compared(installation: Installation, faults: FaultRows) -> None:
    champion, good = installation.rows("SELECT version, sha256 FROM model_versions WHERE status = 'champion'")[0]
    damage_registry(installation, DAMAGES["emptied"])
    trained, seconds = timed(lambda: train(as_of=AS_OF, limit=2_000))
    assert "against the champion's" in trained.reason
    (restored,) = installation.rows(
        f"SELECT encode(sha256(bytes), 'hex') FROM model_versions WHERE version = '{champion}'"
    )
    assert restored == (good,)
    assert installation.is_consistent()
    faults.add("champion's bytes damaged, weekly training", "restored from the local file, then challenged", seconds)


def test_damaged_champion_is_not_replaced_by_a_model_of_an_earlier_date(installation: Installation) -> None:
    champion = installation.rows("SELECT version FROM model_versions WHERE status = 'champion'")
    damage_registry(installation, DAMAGES["emptied"])
    (installation.models / MODEL_FILE).unlink()
    trained = train(as_of=AS_OF - timedelta(days=2), limit=2_000)
    assert not trained.promoted
    assert installation.rows("SELECT version FROM model_versions WHERE status = 'champion'") == champion


def test_analysis_of_the_past_does_not_change_the_model_file(installation: Installation) -> None:
    for minutes in (0, 10, 20):
        analyze(**{**ANALYSIS, "as_of": AS_OF + timedelta(minutes=minutes)})
    serving = (installation.models / MODEL_FILE).read_bytes()
    analyze(**{**ANALYSIS, "as_of": AS_OF + timedelta(minutes=5)})
    analyze(**{**ANALYSIS, "as_of": AS_OF + timedelta(minutes=10), "fast_mode": True})
    assert (installation.models / MODEL_FILE).read_bytes() == serving
