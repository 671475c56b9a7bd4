"""The stage prune_models, as the flows call it."""

from datetime import timedelta

from sqlalchemy import Engine

from hybrid_ml.learning.model import HybridModel
from tasks.save import prune_models
from tests.store.test_pruning import has_bytes, save
from tests.store.test_registry import NO, YES, later
from tests.store.test_registry import model as model  # noqa: PLC0414  # the fixtures of the registry's tests
from tests.store.test_registry import window as window  # noqa: PLC0414


def test_stage_prunes_the_configured_database(engine: Engine, prefect_api: str, model: HybridModel) -> None:
    old = save(engine, model, NO, age=timedelta(weeks=9))
    champion = save(engine, later(model, 7), YES)
    prune_models("ABC")
    assert has_bytes(engine) == {old: False, champion: True}
    prune_models("ABC")
    assert has_bytes(engine) == {old: False, champion: True}
