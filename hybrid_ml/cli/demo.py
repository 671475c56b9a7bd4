"""The demonstration: the main job once, on simulated bars, apart from the configured production."""

import os
from datetime import UTC, datetime

from hybrid_ml.cli.settings import DATABASE, settings_for
from hybrid_ml.market.simulation import SIMULATED_SYMBOL
from hybrid_ml.schemas.backfill_request import BackfillRequest
from hybrid_ml.schemas.requests import AnalysisRequest, TrainingRequest

BARS = 27_000
DEMO_FOLDER = "demo"


def keep_apart() -> bool:
    """Separate this process from production: embedded database, no Telegram. Returns whether there was any.

    With a production database configured the demonstration also keeps its data and model files in
    a folder of its own.
    """
    settings = settings_for(DATABASE)
    production = not settings.uses_embedded_database
    if production:
        os.environ["HYBRID_ML_DATA_DIR"] = str(settings.data_dir / DEMO_FOLDER)
        os.environ["HYBRID_ML_MODELS_DIR"] = str(settings.data_dir / DEMO_FOLDER / "models")
    for name in ("NEON_CONN_STR", "TELEGRAM_BOT_TOKEN", "TELEGRAM_CHAT_ID"):
        os.environ[name] = ""
    os.environ["HYBRID_ML_BLOCKS"] = "false"
    return production


def requests() -> tuple[BackfillRequest, TrainingRequest, AnalysisRequest]:
    """The requests of the demo: simulated bars until now, one training, one analysis at any hour."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    return (
        BackfillRequest(source="demo", bars=BARS, until=now),
        TrainingRequest(symbols=[SIMULATED_SYMBOL], as_of=now),
        AnalysisRequest(symbols=[SIMULATED_SYMBOL], as_of=now, disable_sleep_window=True),
    )
