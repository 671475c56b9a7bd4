"""Sections of a report that only a flag writes: kept, so that a later run without the flag has them too.

A section states what it was computed from. It stays as long as the models' answers in the weeks that both runs have are
the same; then it is dropped.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from hybrid_ml.errors import BadInput
from hybrid_ml.replay.replayed_weeks import ReplayedWeek
from hybrid_ml.store.model_files import write_atomically

SUFFIX = ".section.json"


@dataclass(frozen=True)
class KeptSection:
    """A section `name`: its Markdown, its figures for JSON, and in words what it was computed from.

    `answers`: the fingerprint of the models' answers in each week of that run.
    """

    name: str
    computed_from: str
    answers: list[str]
    markdown: str
    figures: Any

    def is_about(self, weeks: Sequence[ReplayedWeek]) -> bool:
        """Whether the models' answers have not changed in the weeks that it shares with `weeks`."""
        return all(then == week.fingerprint for then, week in zip(self.answers, weeks, strict=False))

    @property
    def labelled_markdown(self) -> str:
        """The section, with what it was computed from under its heading."""
        heading, _, rest = self.markdown.partition("\n\n")
        return f"{heading}\n\n*Kept from an earlier run: {self.computed_from}.*\n\n{rest}"


def keep_section(folder: Path, section: KeptSection) -> None:
    """Keep `section` in place of an earlier one of its name."""
    content = to_jsonable_python(asdict(section), inf_nan_mode="null")
    write_atomically(folder / f"{section.name}{SUFFIX}", json.dumps(content, indent=1).encode())


def earlier_sections(folder: Path, weeks: Sequence[ReplayedWeek], written: Sequence[str]) -> list[KeptSection]:
    """The kept sections that are still about the answers of `weeks`, but those `written` in this run.

    One about other answers is removed. Raises BadInput where a file is damaged.
    """
    found = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        section = _read(path)
        if not section.is_about(weeks):
            path.unlink()
        elif section.name not in written:
            found.append(section)
    return found


def _read(path: Path) -> KeptSection:
    try:
        return KeptSection(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(
            f"--work_path {path.parent}: {path.name} is damaged ({type(error).__name__}); delete it to do without"
        ) from None
