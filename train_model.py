"""`python train_model.py --progressive --validate`: the weekly training, by hand. Same as `hybrid-ml train`."""

import sys

from hybrid_ml.cli.__main__ import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
