"""`python test_hybrid_ml.py`: check this installation. Same as `hybrid-ml check`."""

import sys

from hybrid_ml.cli.__main__ import main

if __name__ == "__main__":
    main(["check", *sys.argv[1:]])
