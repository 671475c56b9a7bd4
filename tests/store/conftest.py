"""The fixture `faults` of tests/faults, for rows of the table at the end of the session."""

from tests.faults.conftest import faults

__all__ = ["faults"]
