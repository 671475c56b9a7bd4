"""Pruning on a real PostgreSQL: which rows and bytes are kept or deleted."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from hybrid_ml.errors import ModelUnavailable
from hybrid_ml.learning.model import Adapter, HybridModel
from hybrid_ml.learning.model_bytes import pack
from hybrid_ml.learning.promotion import Promotion
from hybrid_ml.store import model_registry as registry
from hybrid_ml.store import predictions
from hybrid_ml.store.pruning import Pruned, prune
from tests.flows.running import rows
from tests.outbox import prediction
from tests.store.test_registry import later
from tests.store.test_registry import model as model  # noqa: PLC0414  # the fixtures of the registry's tests
from tests.store.test_registry import window as window  # noqa: PLC0414

AS_OF = datetime(2024, 2, 1, tzinfo=UTC)
YES, NO = Promotion(True, "better"), Promotion(False, "worse")
NOTHING = Pruned(0, 0, 0)


def adapter(model: HybridModel, minutes: float, *, adopted: bool = True) -> Adapter:
    """A trial of an adapter to `model`, made `minutes` after AS_OF."""
    base, moment = model.base, AS_OF + timedelta(minutes=minutes)
    return pack(
        Adapter(
            parent=base.version,
            leaf_values=base.leaf_values.astype("float32") if adopted else None,
            step=0.5 if adopted else 0.0,
            as_of=moment,
            trained_from=base.trained_from,
            trained_until=moment,
            data_until=moment,
            rows=1_000,
        )
    )


def save(engine: Engine, model: HybridModel, decision: Promotion, *, age: timedelta = timedelta()) -> str:
    """Record a base as if `age` ago, events included."""
    with engine.begin() as connection:
        registry.save_base(connection, model, decision)
    make_older(engine, model.version, age)
    return model.version


def trial(engine: Engine, base: HybridModel, made: Adapter, *, age: timedelta, answered: bool = False) -> str:
    """Record a trial as if `age` ago, with a prediction that refers to it if `answered`."""
    with engine.begin() as connection:
        registry.save_adapter(connection, base.base, made)
        if answered:
            predictions.record(connection, prediction(made.as_of, model_version=made.version))
    make_older(engine, made.version, age)
    return made.version


def make_older(engine: Engine, version: str, age: timedelta) -> None:
    with engine.begin() as connection:
        parameters = {"version": version, "age": age}
        connection.execute(
            text("UPDATE model_versions SET created_at = created_at - CAST(:age AS interval) WHERE version = :version"),
            parameters,
        )
        connection.execute(
            text("UPDATE model_events SET at = at - CAST(:age AS interval) WHERE version = :version"), parameters
        )


def run_prune(engine: Engine) -> Pruned:
    with engine.begin() as connection:
        return prune(connection, "ABC")


def has_bytes(engine: Engine) -> dict[str, bool]:
    """Every version in the registry and whether it has its bytes."""
    return dict(rows(engine, "SELECT version, bytes IS NOT NULL FROM model_versions"))  # type: ignore[arg-type]


def test_old_bases_lose_their_bytes_and_keep_their_rows(engine: Engine, model: HybridModel) -> None:
    old = save(engine, model, NO, age=timedelta(weeks=9))
    young = save(engine, later(model, 7), NO, age=timedelta(weeks=8) - timedelta(hours=1))
    scratch = HybridModel(pack(replace(model.base, kind="scratch")))
    save(engine, scratch, NO, age=timedelta(weeks=9))
    champion = save(engine, later(model, 14), YES, age=timedelta(weeks=20))
    assert run_prune(engine) == Pruned(2, 0, 0)
    assert has_bytes(engine) == {old: False, scratch.version: False, young: True, champion: True}
    metadata = rows(
        engine, f"SELECT length, sha256 <> '', metrics <> '{{}}' FROM model_versions WHERE version = '{old}'"
    )
    assert metadata == [(len(model.base.packed), True, True)]
    assert run_prune(engine) == NOTHING


def test_replaced_champion_keeps_its_bytes_for_eight_weeks(engine: Engine, model: HybridModel) -> None:
    champion = save(engine, model, YES, age=timedelta(weeks=20))
    save(engine, later(model, 7), YES)
    assert run_prune(engine) == NOTHING
    make_older(engine, champion, timedelta(weeks=9))
    assert run_prune(engine) == Pruned(1, 0, 0)


def test_adapters_with_predictions_keep_rows_and_others_are_deleted(engine: Engine, model: HybridModel) -> None:
    base = save(engine, model, YES)
    days = timedelta(days=3)
    answered = trial(engine, model, adapter(model, 10), age=days, answered=True)
    unused = trial(engine, model, adapter(model, 20), age=days)
    rejected = trial(engine, model, adapter(model, 30, adopted=False), age=days)
    young = trial(engine, model, adapter(model, 40), age=timedelta(hours=47))
    assert {unused, rejected} <= set(has_bytes(engine))
    assert run_prune(engine) == Pruned(0, 1, 2)
    assert has_bytes(engine) == {base: True, answered: False, young: True}
    assert run_prune(engine) == NOTHING


@pytest.mark.parametrize("adopted", [True, False])
def test_newest_adapter_of_the_champion_is_kept_at_any_age(engine: Engine, model: HybridModel, adopted: bool) -> None:
    save(engine, model, YES)
    trial(engine, model, adapter(model, 10), age=timedelta(days=9))
    newest = trial(engine, model, adapter(model, 20, adopted=adopted), age=timedelta(days=9))
    assert run_prune(engine) == Pruned(0, 0, 1)
    with engine.connect() as connection:
        serving = registry.find_serving(connection, "ABC", AS_OF + timedelta(days=9))
    assert serving is not None
    assert serving.version == (newest if adopted else model.version)


def test_version_without_bytes_is_never_selected(engine: Engine, model: HybridModel) -> None:
    first, second = later(model, 0), later(model, 7)
    save(engine, first, YES)
    save(engine, second, YES)
    trial(engine, second, adapter(second, 8 * 1440), age=timedelta())
    with engine.begin() as connection:
        connection.execute(text("UPDATE model_versions SET bytes = NULL WHERE status <> 'champion'"))
        now = registry.find_serving(connection, "ABC", AS_OF + timedelta(days=9))
        before = registry.find_serving(connection, "ABC", AS_OF + timedelta(days=1))
    assert now is not None
    assert now.version == second.version
    assert before is None


def test_database_constraint_protects_bytes_of_the_champion(engine: Engine, model: HybridModel) -> None:
    save(engine, model, YES)
    with pytest.raises(IntegrityError, match="champion_keeps_its_bytes"), engine.begin() as connection:
        connection.execute(text("UPDATE model_versions SET bytes = NULL"))


def test_model_pruned_before_it_is_fetched_raises_error(engine: Engine, model: HybridModel) -> None:
    save(engine, model, YES)
    with engine.begin() as connection:
        serving = registry.find_serving(connection, "ABC", AS_OF)
        assert serving is not None
        connection.execute(text("UPDATE model_versions SET status = 'retired', bytes = NULL"))
        with pytest.raises(ModelUnavailable, match="are pruned"):
            registry.fetch(connection, serving)


def test_same_training_again_restores_pruned_bytes(engine: Engine, model: HybridModel) -> None:
    save(engine, model, NO, age=timedelta(weeks=9))
    run_prune(engine)
    save(engine, model, YES)
    assert has_bytes(engine) == {model.version: True}
    assert rows(engine, "SELECT status FROM model_versions") == [("champion",)]


def test_pruning_does_not_affect_other_symbols(engine: Engine, model: HybridModel) -> None:
    save(engine, model, NO, age=timedelta(weeks=9))
    with engine.begin() as connection:
        assert prune(connection, "XYZ") == NOTHING
    assert has_bytes(engine) == {model.version: True}


def test_every_status_change_writes_an_event_in_its_transaction(engine: Engine, model: HybridModel) -> None:
    first, second, third = (later(model, days) for days in (0, 7, 14))
    save(engine, first, YES)
    save(engine, first, YES)
    save(engine, second, YES)
    save(engine, third, NO, age=timedelta(weeks=9))
    trial(engine, second, adapter(second, 8 * 1440), age=timedelta(days=3))
    trial(engine, second, adapter(second, 9 * 1440), age=timedelta(days=3))
    run_prune(engine)
    assert rows(engine, "SELECT event, version, previous FROM model_events ORDER BY id") == [
        ("promoted", first.version, None),
        ("retired", first.version, None),
        ("promoted", second.version, first.version),
        ("rejected", third.version, None),
        ("pruned", third.version, None),
    ]
    with pytest.raises(RuntimeError, match="power cut"), engine.begin() as connection:
        registry.save_base(connection, later(model, 21), YES)
        raise RuntimeError("power cut")
    assert rows(engine, "SELECT count(*) FROM model_events") == [(5,)]
