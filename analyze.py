"""`python analyze.py --source db --preset balanced`: one analysis, by hand. Same as `hybrid-ml analyze`."""

import sys

from hybrid_ml.cli.__main__ import main
from hybrid_ml.cli.python_api import load_saved_model, save_model, validate_model_on_recent_data

__all__ = ["load_saved_model", "save_model", "validate_model_on_recent_data"]

if __name__ == "__main__":
    main(["analyze", *sys.argv[1:]])
