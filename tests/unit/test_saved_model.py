"""Saving by hand."""

from dataclasses import replace

import pytest

from hybrid_ml.errors import BadInput
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.model_bytes import pack
from hybrid_ml.registry.access import _refuse_changed


def test_a_model_changed_after_it_was_packed_is_not_saved_as_if_it_had_not_been(model: HybridModel) -> None:
    _refuse_changed(model)
    warm = HybridModel(replace(model.base, temperature=1.7))
    with pytest.raises(BadInput, match=r"temperature of .* was changed after the model was packed"):
        _refuse_changed(warm)
    _refuse_changed(HybridModel(pack(warm.base)))
