"""The dask cluster of runs and replays: an existing one, or one on this machine."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from hybrid_ml.errors import BadInput

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 10


@contextmanager
def dask_client(workers: int, address: str) -> Iterator["Client"]:
    """A client of the cluster whose scheduler is at `address`; where that is empty, of one on this machine.

    `workers`: how many processes a cluster on this machine has. Raises BadInput when dask is not installed or the
    scheduler does not answer.
    """
    with missing_dask_as_bad_input():
        from distributed import Client, LocalCluster
    with ExitStack() as stack:
        cluster = address or stack.enter_context(
            # A scheduler runs whatever it gets: temporary certificates keep other accounts of this machine out.
            LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None, security=True)
        )
        try:
            client = stack.enter_context(Client(cluster, timeout=CONNECT_SECONDS, set_as_default=False))
        except (OSError, ValueError) as error:
            raise BadInput(
                f"no dask scheduler answers at {address!r} ({error}); check --dask_address or HYBRID_ML_DASK_ADDRESS, "
                "or leave both out for a cluster on this machine"
            ) from None
        yield client


@contextmanager
def missing_dask_as_bad_input() -> Iterator[None]:
    """Raise BadInput with the remedy where an import of dask in the block fails."""
    try:
        yield
    except ImportError:
        raise BadInput(
            "--runner dask needs dask, which is not installed; install it with `pip install '.[dask]'`, "
            "or leave the flag out"
        ) from None
