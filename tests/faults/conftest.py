"""An installation that is copied for each fault, the end state of a run without faults, and the table of faults."""

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from hybrid_ml.config.settings import load_settings
from hybrid_ml.market.bars import clean_bars
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.store.bars import store_bars
from hybrid_ml.store.engine import open_engine
from tests.databases import database
from tests.faults.table import FaultRows
from tests.flows.running import A_THIRD, AS_OF, SURE, analyze, train

ANALYSIS = {"as_of": AS_OF, "symbols": ["ABC"], "disable_sleep_window": True, **SURE}
TRAINING = {"as_of": AS_OF, "symbols": ["ABC"], "limit": 7_000, **A_THIRD}
"""Enough rows for a challenger that is promoted, so that a fault could lose the promotion."""
REQUESTS: dict[str, dict[str, Any]] = {"analysis": ANALYSIS, "weekly training": TRAINING}


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> FaultRows:
    """Collects a test's rows of the table: the fault, what happened, the seconds to recover."""
    return FaultRows(request.node)


@dataclass(frozen=True)
class Template:
    """A database with bars and a champion, and its model files, to be copied."""

    address: str
    models: Path


@dataclass(frozen=True)
class Installation:
    """A copy of the template: its engine, its models folder, and the environment that points to them."""

    engine: Engine
    models: Path
    environment: dict[str, str]

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement))]

    def end_state(self) -> dict[str, Any]:
        """The results of a run, without the times of writing and the row numbers."""
        return {
            "versions": self.rows("SELECT version, status, sha256, length FROM model_versions ORDER BY version"),
            "predictions": self.rows(
                "SELECT symbol, bar_time, p_down, p_flat, p_up, threshold, model_version, gates::text, signal, "
                "recent_accuracy FROM predictions ORDER BY symbol, bar_time"
            ),
            "alerts": self.rows(
                "SELECT kind, symbol, bar_time, text, chat_id, state "
                "FROM deliveries JOIN alerts ON alerts.id = alert_id ORDER BY kind, symbol, bar_time"
            ),
            "files": {
                path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted(self.models.iterdir())
                if not path.name.startswith(".")
            },
        }

    def is_consistent(self) -> bool:
        """Whether every version's bytes match its checksum and there is exactly one champion."""
        consistency = self.rows(
            "SELECT bool_and(length(bytes) = length AND encode(sha256(bytes), 'hex') = sha256), "
            "count(*) FILTER (WHERE status = 'champion') FROM model_versions WHERE bytes IS NOT NULL"
        )
        return consistency == [(True, 1)]


@pytest.fixture(scope="session")
def template(
    server: str, migrated: str, prefect_api: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Template]:
    """9,000 simulated bars of ABC and a champion trained half a day before AS_OF."""
    folder = tmp_path_factory.mktemp("template")
    with database(server, template=migrated) as address:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NEON_CONN_STR", address)
            patch.setenv("HYBRID_ML_MODELS_DIR", str(folder / "models"))
            engine = open_engine(load_settings())
            store_bars(engine, "ABC", clean_bars(simulate_bars(AS_OF + timedelta(hours=5), bars=9_300)).bars)
            train(as_of=AS_OF - timedelta(hours=12), limit=2_000)
            engine.dispose()
        yield Template(address, folder / "models")


@pytest.fixture
def installation(
    template: Template, server: str, prefect_api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Installation]:
    """A copy of the template for one test."""
    with copy_template(template, server, prefect_api, tmp_path, monkeypatch) as installation:
        yield installation


@contextmanager
def copy_template(
    template: Template, server: str, prefect_api: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Installation]:
    models = folder / "models"
    shutil.copytree(template.models, models)
    with database(server, template=template.address) as address:
        environment = {
            "NEON_CONN_STR": address,
            "HYBRID_ML_MODELS_DIR": str(models),
            "HYBRID_ML_LOCK_WAIT_SECONDS": "600",
        }
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        engine = open_engine(load_settings())
        yield Installation(engine, models, {**os.environ, "PREFECT_API_URL": prefect_api})
        engine.dispose()


class EndStates(dict[str, dict[str, Any]]):
    """The end state of each flow without faults, by its name; a flow runs when its state is asked for."""

    def __init__(self, copies: Callable[[], AbstractContextManager[Installation]]) -> None:
        super().__init__()
        self._copies = copies

    def __missing__(self, name: str) -> dict[str, Any]:
        with self._copies() as installation:
            if name == "analysis":
                analyze(**ANALYSIS)
            else:
                assert train(**TRAINING).promoted
            self[name] = installation.end_state()
        return self[name]


@pytest.fixture(scope="session")
def end_states(
    template: Template, server: str, prefect_api: str, tmp_path_factory: pytest.TempPathFactory
) -> EndStates:
    """The end state of each flow without faults."""

    @contextmanager
    def copies() -> Iterator[Installation]:
        folder = tmp_path_factory.mktemp("undisturbed")
        with (
            pytest.MonkeyPatch.context() as patch,
            copy_template(template, server, prefect_api, folder, patch) as installation,
        ):
            yield installation

    return EndStates(copies)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """The result and the seconds it took."""
    started = time.perf_counter()
    return work(), time.perf_counter() - started
