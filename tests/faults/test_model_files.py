"""Damaged, foreign and hostile models, in the local file and in the registry itself."""

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
from hybrid_ml.pipeline.context import Run, open_run
from hybrid_ml.registry.access import load_saved_model
from hybrid_ml.schemas.requests import AnalysisRequest
from hybrid_ml.store import model_registry as registry
from hybrid_ml.store.model_files import MODEL_FILE, read_model
from tasks.load import load_model
from tests.faults.conftest import ANALYSIS, Installation, timed
from tests.faults.table import FaultRows
from tests.flows.running import AS_OF, analyze, train

PLACES = 20
WITNESS = Path("/tmp/hybrid-ml-hostile-pickle-was-here")  # noqa: S108  # what the hostile pickle would make
HOSTILE = f"cposix\nsystem\n(S'touch {WITNESS}'\ntR.".encode()
Damage = Callable[[bytes], bytes]


def truncated(place: int) -> Damage:
    return lambda data: data[: len(data) * place // PLACES]


def flipped(place: int) -> Damage:
    def damage(data: bytes) -> bytes:
        position = (2 * place + 1) * len(data) // (2 * PLACES)
        return data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :]

    return damage


def of_another_symbol(data: bytes) -> bytes:
    return data.replace(b"ABC", b"XYZ")


def with_other_features(data: bytes) -> bytes:
    return data.replace(b"volatility_", b"velocities_")


DAMAGES: dict[str, Damage] = {
    **{f"truncated at {place} of {PLACES}": truncated(place) for place in range(PLACES)},
    **{f"one bit flipped in part {place + 1} of {PLACES}": flipped(place) for place in range(PLACES)},
    "emptied": lambda _: b"",
    "another symbol's": of_another_symbol,
    "one with other features": with_other_features,
    "a hostile pickle": lambda _: HOSTILE,
    "a pickle of something else": lambda _: pickle.dumps({"format": 1, "base": [1, 2, 3]}),
    "twice as long": lambda data: data + data,
}


def serving_answers(installation: Installation) -> list[float]:
    """What the model that serves says of a fixed question: the same bits as before the fault."""
    model = load_saved_model("ABC", AS_OF)
    questions = np.random.default_rng(0).normal(size=(5, len(model.base.feature_names))).astype(np.float32)
    return model.probabilities(questions).ravel().tolist()


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_local_file_is_named_and_rebuilt(
    installation: Installation, faults: FaultRows, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    path = installation.models / MODEL_FILE
    good, answers = path.read_bytes(), serving_answers(installation)
    damaged = DAMAGES[name](good)
    assert damaged != good
    path.write_bytes(damaged)
    reason = refusal(installation)
    assert "check failed" in reason
    loaded, seconds = timed(lambda: load_model.fn("ABC", run_of(installation)))
    assert loaded.problem is None
    assert path.read_bytes() == good
    assert serving_answers(installation) == answers
    assert not WITNESS.exists()
    faults.add(f"model file {name}", f"{reason.split(': ', 1)[1].split(':')[0]}; rebuilt from the registry", seconds)


def run_of(installation: Installation) -> Run:
    """What an analysis of ABC knows about itself."""
    return open_run(AnalysisRequest(**ANALYSIS), load_settings(), ["ABC"], AS_OF)


def refusal(installation: Installation) -> str:
    """What the loader says of the local file."""
    with installation.engine.connect() as connection:
        serving = registry.find_serving(connection, "ABC", AS_OF)
    assert serving is not None
    with pytest.raises(ModelUnavailable) as raised:
        read_model(installation.models, serving.file, "ABC")
    return str(raised.value)


@pytest.mark.parametrize("name", ["removed", "a folder in its place", "a link to nowhere"])
def test_a_missing_or_unreadable_local_file_is_named_and_rebuilt(
    installation: Installation, faults: FaultRows, name: str
) -> None:
    path = installation.models / MODEL_FILE
    good, answers = path.read_bytes(), serving_answers(installation)
    path.unlink()
    if name == "a folder in its place":
        path.mkdir()
    elif name == "a link to nowhere":
        path.symlink_to(installation.models / "nowhere")
    reason = refusal(installation)
    assert "is missing" in reason or "cannot be read" in reason
    answer, seconds = timed(lambda: analyze(**ANALYSIS, fast_mode=True))
    assert not answer.fell_back
    assert serving_answers(installation) == answers
    if name != "a folder in its place":
        assert path.read_bytes() == good
    faults.add(f"model file {name}", f"{reason.rsplit('/', 1)[1]}; served from the registry", seconds)


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_bytes_in_the_registry_are_named_and_the_local_file_serves(
    installation: Installation, faults: FaultRows, name: str
) -> None:
    answers = serving_answers(installation)
    damage_registry(installation, DAMAGES[name])
    with installation.engine.connect() as connection:
        serving = registry.find_serving(connection, "ABC", AS_OF)
        assert serving is not None
        with pytest.raises(ModelUnavailable, match="check failed") as raised:
            registry.fetch(connection, serving)
    (loaded, seconds) = timed(lambda: serving_answers(installation))
    assert loaded == answers
    assert not WITNESS.exists()
    message = str(raised.value).split(":")[0]
    faults.add(f"registry bytes {name}", f"{message}; the local file, whole, serves", seconds)


@pytest.mark.parametrize("name", ["emptied", "truncated at 10 of 20", "one bit flipped in part 11 of 20"])
def test_with_registry_and_file_both_damaged_a_model_is_trained(
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
    """Damage the champion's bytes in its row; length and sha256 stay what they were."""
    (data,) = installation.rows("SELECT bytes FROM model_versions WHERE status = 'champion'")[0]
    with installation.engine.begin() as connection:
        connection.execute(
            text("UPDATE model_versions SET bytes = :data WHERE status = 'champion'"), {"data": damage(bytes(data))}
        )


def test_another_symbols_file_whole_and_sound_is_not_used(installation: Installation, faults: FaultRows) -> None:
    """Not damaged at all, and still the wrong one: a file of this program for the symbol XYZ."""
    model = load_saved_model("ABC", AS_OF)
    path = installation.models / MODEL_FILE
    good = path.read_bytes()
    path.write_bytes(pack_file(model).replace(b"ABC", b"XYZ"))
    _, seconds = timed(lambda: analyze(**ANALYSIS, fast_mode=True))
    assert path.read_bytes() == good
    metadata = json.loads(next(installation.models.glob("model_metadata_*.json")).read_text())
    assert metadata["symbol"] == "ABC"
    faults.add("model file of another symbol, whole", "sha256 check failed; rebuilt from the registry", seconds)


def test_with_only_the_adapter_damaged_its_base_answers_alone(installation: Installation, faults: FaultRows) -> None:
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


def test_a_champion_damaged_in_the_registry_is_put_back_and_judged_before_it_is_replaced(
    installation: Installation, faults: FaultRows
) -> None:
    champion, good = installation.rows("SELECT version, sha256 FROM model_versions WHERE status = 'champion'")[0]
    damage_registry(installation, DAMAGES["emptied"])
    trained, seconds = timed(lambda: train(as_of=AS_OF, limit=2_000))
    assert "against the champion's" in trained.reason
    (mended,) = installation.rows(
        f"SELECT encode(sha256(bytes), 'hex') FROM model_versions WHERE version = '{champion}'"
    )
    assert mended == (good,)
    assert installation.is_whole()
    faults.add("champion's bytes damaged, weekly training", "put back from the local file, then challenged", seconds)


def test_a_damaged_champion_is_not_replaced_by_a_model_of_the_past(installation: Installation) -> None:
    champion = installation.rows("SELECT version FROM model_versions WHERE status = 'champion'")
    damage_registry(installation, DAMAGES["emptied"])
    (installation.models / MODEL_FILE).unlink()
    trained = train(as_of=AS_OF - timedelta(days=2), limit=2_000)
    assert not trained.promoted
    assert installation.rows("SELECT version FROM model_versions WHERE status = 'champion'") == champion


def test_judging_the_past_leaves_the_local_file_alone(installation: Installation) -> None:
    for minutes in (0, 10, 20):
        analyze(**{**ANALYSIS, "as_of": AS_OF + timedelta(minutes=minutes)})
    serving = (installation.models / MODEL_FILE).read_bytes()
    analyze(**{**ANALYSIS, "as_of": AS_OF + timedelta(minutes=5)})
    analyze(**{**ANALYSIS, "as_of": AS_OF + timedelta(minutes=10), "fast_mode": True})
    assert (installation.models / MODEL_FILE).read_bytes() == serving
