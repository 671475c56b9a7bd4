"""What these tests share with those of faults: the table at the end of the session."""

from tests.faults.conftest import faults

__all__ = ["faults"]
