"""The command `hybrid-ml migrate`. It uses only the database and needs no Prefect."""

from hybrid_ml.cli.settings import DATABASE, settings_for
from hybrid_ml.console.terminal import out
from hybrid_ml.store import engine as store


def migrate() -> None:
    """`hybrid-ml migrate`. Raises StoreUnavailable where the database cannot be reached, or a right is missing."""
    settings = settings_for(DATABASE)
    engine = store.connect_only(settings)
    revision = store.migrate(engine)
    out.print(f"the schema of {store.shown(engine)} is at revision {revision}")
    if ignored := store.ignored_parameters(settings):
        out.print(f"parameters of other drivers, without effect here: {', '.join(ignored)}")
