"""Saving a model with `save_model`."""

from dataclasses import replace

import pytest

from hybrid_ml.errors import BadInput
from hybrid_ml.learning.model import HybridModel
from hybrid_ml.learning.model_bytes import pack
from hybrid_ml.registry.access import _refuse_changed


def test_model_changed_after_packing_is_refused(model: HybridModel) -> None:
    _refuse_changed(model)
    changed = HybridModel(replace(model.base, temperature=1.7))
    with pytest.raises(BadInput, match=r"temperature of .* was changed after the model was packed"):
        _refuse_changed(changed)
    _refuse_changed(HybridModel(pack(changed.base)))
