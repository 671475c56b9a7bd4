"""`python check_progressive_scaling.py`: how the training window grows. Same as `hybrid-ml scaling`."""

import sys

from hybrid_ml.cli.__main__ import main

if __name__ == "__main__":
    main(["scaling", *sys.argv[1:]])
