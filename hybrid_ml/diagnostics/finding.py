"""What a check of this installation found; apart from the checks, which load the library of models."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One line: fine, warning or failed, and the remedy."""

    part: str
    state: Literal["fine", "warning", "failed"]
    text: str
