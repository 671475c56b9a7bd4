"""What the system knows about bars, models and signals. Below `hybrid_ml.cli` nothing imports Prefect."""

import os

# LightGBM's threads wait for each other thousands of times a second. By default they spin, and on a machine with other
# work the spinning takes the core that the awaited thread needs: measured 5 to 60 times slower. OpenMP reads this when
# LightGBM is first imported, which is why it stands here.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
