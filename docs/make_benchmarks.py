"""Writes docs/benchmarks.md from docs/benchmarks/NAME.json, what the benchmarks printed with --json."""

import ast
import json
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("benchmarks.md")
DOCUMENTS, PROGRAMS = PAGE.with_suffix(""), PAGE.parents[1] / "bench"
DISCUSSED_IN = {
    "adapters": "experiments.md",
    "backfill": "bars.md#load-a-file",
    "day": "reliability.md",
    "drift": "review.md",
    "experiments": "experiments.md",
    "features": "architecture.md#features",
    "growth": "operations.md#disk-use",
    "latency": "operations.md#on-time",
    "rules": "reliability.md",
    "silence": "experiments.md#rules-that-would-silence-alerts",
}
HEAD = """# What things cost

Ratios hold on other machines too; absolute times are those of the machine that measured them, and longer where the
load average (processes that want a core, the benchmark included) is above the number of cores. Each benchmark runs
what it compares in turn, prints medians, and checks that both sides gave the same answer. `make bench` runs them all,
and each says on standard error what it is doing. The terms are in the [glossary](glossary.md).

This page is made by `make docs` from the documents in `docs/benchmarks/`. To measure again:

```console
$ python bench/start.py --json > docs/benchmarks/start.json
$ make docs
```
"""


def page() -> str:
    """The whole page as Markdown."""
    return "\n".join([HEAD, bounds(), *(section(name, text) for name, text in programs().items())])


def programs() -> dict[str, str]:
    """What each benchmark measures, the first line of its documentation."""
    sources = {path.stem: path.read_text(encoding="utf-8") for path in sorted(PROGRAMS.glob("*.py"))}
    return {
        name: (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
        for name, source in sources.items()
        if 'if __name__ == "__main__"' in source
    }


def document_of(name: str) -> dict[str, Any]:
    """What the benchmark printed, without figures where it has not been kept."""
    file = DOCUMENTS / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"lines": [], "tables": {}}


def bounds() -> str:
    """Every figure that has a bound, in one table."""
    rows = [
        {
            "benchmark": f"[{name}](#{name})",
            "what": line["name"],
            "measured": line["shown"],
            "at most": bound(line),
            "met": "yes" if line["met"] else "**no**",
            "on": document["measured"],
        }
        for name in programs()
        for document in [document_of(name)]
        for line in document["lines"]
        if line["at_most"] is not None
    ]
    return "\n".join(["## Bounds", "", table(rows), ""])


def section(name: str, text: str) -> str:
    """One benchmark: what it measures, when and where it was measured, every figure and table."""
    document = document_of(name)
    parts = [f"## {name}", "", text, ""]
    if name in DISCUSSED_IN:
        target = DISCUSSED_IN[name]
        parts += [f"What the figures mean is in [{target.partition('.')[0]}]({target}).", ""]
    if not document["lines"]:
        return "\n".join([*parts, f"`python bench/{name}.py`", ""])
    taken_over = "; taken over from an earlier page" if document.get("converted") else ""
    load = f" with a load average of {document['load_average']}" if "load_average" in document else ""
    machine = f"{document['cores']} cores{load}, Python {document['python']}"
    parts += [f"`{document['command']}`, {document['measured']}, {machine}{taken_over}: {document['benchmark']}", ""]
    lines = [{"what": line["name"], "measured": line["shown"], "at most": bound(line)} for line in document["lines"]]
    parts += [table(lines), ""]
    for title, rows in document["tables"].items():
        parts += [f"{title}:", "", table(rows), ""]
    return "\n".join(parts)


def bound(line: dict[str, Any]) -> str:
    """What a figure should not exceed, with its unit; a ratio has none."""
    unit = "" if line["unit"] == "x" else line["unit"]
    return "" if line["at_most"] is None else f"{line['at_most']:,g} {unit}".strip()


def table(rows: list[dict[str, Any]]) -> str:
    names = list(rows[0])
    body = [[cell(row[name]) for name in names] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [names, ["---"] * len(names), *body])


def cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}"
    return "" if value is None else str(value).replace("|", r"\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
