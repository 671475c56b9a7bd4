"""The registry of models, on a real PostgreSQL."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from hybrid_ml.errors import ModelUnavailable
from hybrid_ml.learning.fine_tuning import fine_tune
from hybrid_ml.learning.model import HybridModel, Kind
from hybrid_ml.learning.model_bytes import pack
from hybrid_ml.learning.promotion import Promotion
from hybrid_ml.learning.rows import Window, make_window
from hybrid_ml.learning.training import train_base
from hybrid_ml.market.bars import clean_bars
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.store import model_registry as registry

AS_OF = datetime(2024, 2, 1, tzinfo=UTC)
YES, NO = Promotion(True, "better"), Promotion(False, "worse")


@pytest.fixture(scope="module")
def window() -> Window:
    return make_window(clean_bars(simulate_bars(AS_OF, bars=4_000)).bars, 30)


@pytest.fixture(scope="module")
def model(window: Window) -> HybridModel:
    trained, _ = train_base(window.rows, symbol="ABC", kind="base", row_limit=2_000, week=0, as_of=AS_OF, num_threads=1)
    return trained


def later(model: HybridModel, days: float) -> HybridModel:
    """The same model as if trained `days` later: another version."""
    shift = timedelta(days=days)
    base = model.base
    return HybridModel(pack(replace(base, as_of=base.as_of + shift, data_until=base.data_until + shift)))


def statuses(engine: Engine) -> dict[str, str]:
    with engine.connect() as connection:
        return dict(connection.execute(text("SELECT version, status FROM model_versions")).tuples().all())


def test_saved_model_is_selected_and_gives_the_same_probabilities(
    engine: Engine, model: HybridModel, window: Window
) -> None:
    with engine.begin() as connection:
        registry.save_base(connection, model, YES)
    with engine.connect() as connection:
        serving = registry.find_serving(connection, "ABC", AS_OF)
        assert serving is not None
        fetched = registry.fetch(connection, serving)
    features = window.rows.last(50).features
    assert (fetched.probabilities(features) == model.probabilities(features)).all()
    assert fetched.version == model.version


def test_training_start_of_the_current_model_is_known(engine: Engine, model: HybridModel) -> None:
    with engine.begin() as connection:
        registry.save_base(connection, model, YES)
        assert registry.trained_from(connection, "ABC", AS_OF) == model.base.trained_from
        assert registry.trained_from(connection, "ABC", AS_OF - timedelta(days=1)) is None
        assert registry.trained_from(connection, "XYZ", AS_OF) is None


def test_new_champion_retires_the_old_one_which_stays_selected_for_the_past(engine: Engine, model: HybridModel) -> None:
    second = later(model, 7)
    with engine.begin() as connection:
        registry.save_base(connection, model, YES)
        registry.save_base(connection, second, YES)
    assert statuses(engine) == {model.version: "retired", second.version: "champion"}
    with engine.connect() as connection:
        now = registry.find_serving(connection, "ABC", AS_OF + timedelta(days=8))
        then = registry.find_serving(connection, "ABC", AS_OF + timedelta(days=1))
        before = registry.find_serving(connection, "ABC", AS_OF - timedelta(days=1))
    assert now is not None
    assert (now.version, now.is_champion) == (second.version, True)
    assert then is not None
    assert (then.version, then.is_champion) == (model.version, False)
    assert before is None


def test_rejected_challenger_is_never_selected(engine: Engine, model: HybridModel) -> None:
    with engine.begin() as connection:
        registry.save_base(connection, model, YES)
        registry.save_base(connection, later(model, 7), NO)
    with engine.connect() as connection:
        serving = registry.find_serving(connection, "ABC", AS_OF + timedelta(days=8))
    assert serving is not None
    assert serving.version == model.version


def test_database_constraint_refuses_a_second_champion(engine: Engine, model: HybridModel) -> None:
    with engine.begin() as connection:
        registry.save_base(connection, model, YES)
        registry.save_base(connection, later(model, 7), NO)
    with pytest.raises(IntegrityError, match="one_champion_a_symbol"), engine.begin() as connection:
        connection.execute(text("UPDATE model_versions SET status = 'champion'"))


def test_saving_the_same_model_again_changes_nothing(engine: Engine, model: HybridModel) -> None:
    for _ in range(2):
        with engine.begin() as connection:
            registry.save_base(connection, model, YES)
    assert statuses(engine) == {model.version: "champion"}


def test_newest_fine_tuning_decides_whether_an_adapter_is_used(
    engine: Engine, model: HybridModel, window: Window
) -> None:
    adapter = fine_tune(model, window.rows, count=1_000, as_of=AS_OF).adapter
    adopted = pack(replace(adapter, leaf_values=model.base.leaf_values.astype("float32"), step=0.5))
    rejected = pack(
        replace(
            adapter,
            leaf_values=None,
            step=0.0,
            as_of=AS_OF + timedelta(minutes=10),
            data_until=AS_OF + timedelta(minutes=10),
        )
    )
    with engine.begin() as connection:
        registry.save_base(connection, model, YES)
        registry.save_adapter(connection, model.base, adopted)
        first = registry.find_serving(connection, "ABC", AS_OF)
        registry.save_adapter(connection, model.base, rejected)
        second = registry.find_serving(connection, "ABC", AS_OF + timedelta(minutes=10))
        again = registry.find_serving(connection, "ABC", AS_OF)
    assert first is not None
    assert first.version == adopted.version
    assert second is not None
    assert second.version == model.version
    assert again is not None
    assert again.version == adopted.version


def test_damaged_bytes_in_the_registry_are_refused(engine: Engine, model: HybridModel) -> None:
    with engine.begin() as connection:
        registry.save_base(connection, model, YES)
        connection.execute(text("UPDATE model_versions SET bytes = substring(bytes FROM 1 FOR 1000)"))
        serving = registry.find_serving(connection, "ABC", AS_OF)
        assert serving is not None
        with pytest.raises(ModelUnavailable, match="length check failed: 1,000 bytes"):
            registry.fetch(connection, serving)


def test_weeks_count_from_the_first_base(engine: Engine, model: HybridModel) -> None:
    with engine.begin() as connection:
        assert registry.first_base_at(connection, "ABC") is None
        registry.save_base(connection, later(model, 7), YES)
        registry.save_base(connection, model, NO)
        assert registry.first_base_at(connection, "ABC") == AS_OF


def test_promotion_is_valid_only_against_the_compared_champion(engine: Engine, model: HybridModel) -> None:
    first, second, third = (later(model, days) for days in (0, 7, 14))
    against_first = Promotion(True, "better", champion=first.version)
    with engine.begin() as connection:
        assert registry.confirm(connection, first, YES).promoted  # there is no champion to replace
        registry.save_base(connection, first, YES)
        assert registry.confirm(connection, second, against_first) == against_first
        registry.save_base(connection, second, against_first)
        refused = registry.confirm(connection, third, against_first)
        assert not refused.promoted
        assert f"the champion became {second.version} while" in refused.reason
        registry.save_base(connection, third, refused)
        assert not registry.confirm(connection, third, YES).promoted  # decided when there was no champion
        assert registry.confirm(connection, second, against_first).promoted  # the same run again
    assert statuses(engine) == {first.version: "retired", second.version: "champion", third.version: "rejected"}


def test_failed_retrainings_count_since_the_current_base(engine: Engine, model: HybridModel) -> None:
    def trained(hours: float, decision: Promotion, kind: Kind = "scratch") -> None:
        base = replace(later(model, hours / 24).base, kind=kind)
        with engine.begin() as connection:
            registry.save_base(connection, HybridModel(pack(base)), decision)

    def failed_attempts(hours: float) -> tuple[int, float | None]:
        with engine.connect() as connection:
            attempts = registry.retrain_attempts(connection, "ABC", AS_OF + timedelta(hours=hours))
        return attempts.failed_attempts, None if attempts.newest is None else (attempts.newest - AS_OF) / timedelta(
            hours=1
        )

    trained(0, YES, "base")
    assert failed_attempts(1) == (0, None)
    trained(2, NO)
    trained(3, NO)
    assert [failed_attempts(hours) for hours in (1, 2.5, 4)] == [(0, None), (1, 2.0), (2, 3.0)]
    trained(5, YES)
    assert failed_attempts(6) == (0, 5.0)  # a new champion does not reset the time of the last training
    trained(7, NO)
    assert failed_attempts(8) == (1, 7.0)


def test_base_of_an_earlier_date_does_not_change_week_numbers(engine: Engine, model: HybridModel) -> None:
    for days in (7, 0):
        with engine.begin() as connection:
            registry.save_base(connection, later(model, days), YES)
    with engine.connect() as connection:
        assert registry.first_base_at(connection, "ABC") == AS_OF + timedelta(days=7)


def test_rejected_base_trained_again_for_the_past_is_selected_there(engine: Engine, model: HybridModel) -> None:
    of_the_past = Promotion(False, "of the past", of_the_past=True)
    with engine.begin() as connection:
        registry.save_base(connection, later(model, 7), YES)
        registry.save_base(connection, model, NO)
        assert registry.find_serving(connection, "ABC", AS_OF) is None
        registry.save_base(connection, model, of_the_past)
        serving = registry.find_serving(connection, "ABC", AS_OF)
    assert serving is not None
    assert serving.version == model.version
