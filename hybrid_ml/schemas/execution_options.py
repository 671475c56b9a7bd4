"""Options of a run about the machines that execute it."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hybrid_ml.schemas.fields import BaseRequest

DaskAddress = Annotated[
    str | None,
    Field(
        title="Address of the dask cluster",
        pattern=r"^(tcp|tls|ws|wss)://\S+:\d+$",
        description="its scheduler, e.g. tcp://HOST:8786; empty: HYBRID_ML_DASK_ADDRESS, else a cluster on the machine "
        "that runs it; goes with runner dask",
    ),
]
Runner = Annotated[
    Literal["threads", "dask"],
    Field(title="Runner", description="where symbols are processed in parallel; dask: on the machines of its cluster"),
]


class ExecutionOptions(BaseRequest):
    """Where the work is executed."""

    runner: str
    dask_address: DaskAddress = None

    @model_validator(mode="after")
    def _address_goes_with_dask(self) -> "ExecutionOptions":
        if self.dask_address and self.runner != "dask":
            raise ValueError(f"--dask_address {self.dask_address} goes with --runner dask, not --runner {self.runner}")
        return self
