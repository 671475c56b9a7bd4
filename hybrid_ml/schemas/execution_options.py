"""What a run may be asked about where its work goes."""

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
    Field(title="Runner", description="what works on the symbols side by side; dask: the machines of its cluster"),
]


class ExecutionOptions(BaseRequest):
    """Where the work goes."""

    runner: str
    dask_address: DaskAddress = None

    @model_validator(mode="after")
    def _address_goes_with_dask(self) -> "ExecutionOptions":
        if self.dask_address and self.runner != "dask":
            raise ValueError(f"--dask_address {self.dask_address} goes with --runner dask, not --runner {self.runner}")
        return self
