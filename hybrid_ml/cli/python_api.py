"""The original functions, for programs that use them: with the same database as runs."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from hybrid_ml.cli.settings import DATABASE, settings_for
from hybrid_ml.registry import access

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def _with_blocks(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    @wraps(function)
    def with_blocks(*arguments: Parameters.args, **named: Parameters.kwargs) -> Result:
        settings_for(DATABASE)
        return function(*arguments, **named)

    return with_blocks


load_saved_model = _with_blocks(access.load_saved_model)
save_model = _with_blocks(access.save_model)
validate_model_on_recent_data = _with_blocks(access.validate_model_on_recent_data)
