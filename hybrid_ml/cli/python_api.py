"""The functions users know, for programs of their own: with the same database as runs have."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from hybrid_ml.cli.settings import DATABASE, settings_for
from hybrid_ml.registry import access

Given = ParamSpec("Given")
Result = TypeVar("Result")


def _heeding_blocks(function: Callable[Given, Result]) -> Callable[Given, Result]:
    @wraps(function)
    def heeding(*arguments: Given.args, **named: Given.kwargs) -> Result:
        settings_for(DATABASE)
        return function(*arguments, **named)

    return heeding


load_saved_model = _heeding_blocks(access.load_saved_model)
save_model = _heeding_blocks(access.save_model)
validate_model_on_recent_data = _heeding_blocks(access.validate_model_on_recent_data)
