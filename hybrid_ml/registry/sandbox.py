"""A model from elsewhere is first loaded and tried in a child process.

LightGBM can abort the process, never return, or request all memory for a text that is complete but wrong. The
parent process survives that and reports it. Memory, processor time and output of the child are limited
where the system can (the module `resource`: Linux, and macOS except memory); its wall time everywhere.
"""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from signal import Signals
from typing import IO, Any

import numpy as np

from hybrid_ml.errors import HybridMLError, ModelUnavailable, one_line
from hybrid_ml.learning.model import CLASS_COUNT, Base, HybridModel
from hybrid_ml.learning.model_bytes import unpack_file

TRIAL_SECONDS, CPU_SECONDS = 180.0, 60
"""Wall time of the trial, and its processor time. A valid model takes 2 s."""
MEMORY_BYTES = 4 * 1024**3
"""Address space of the child. The trial of a valid model takes 1.6 GB, which libraries reserve; it uses 0.25 GB."""
OUTPUT_BYTES = 1024 * 1024
"""The child's output; LightGBM can log a warning for each tree."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Each thread's stack and heap would count as the child's memory."""
QUESTIONS = 2_000
ANSWER = '{"problem": '


def try_in_child(data: bytes, timeout_seconds: float = TRIAL_SECONDS) -> None:
    """Load the model in the serving file `data` in a child process and compute answers with it.

    Raises ModelUnavailable with the reason when the child refuses it, dies or does not end in time.
    """
    # The child imports this program from the same place as its parent, never from its working folder.
    program = f"import sys; sys.path[:] = {sys.path!r}; from hybrid_ml.registry.sandbox import main; main()"
    with tempfile.TemporaryFile() as text, tempfile.TemporaryFile() as errors:
        try:
            done = subprocess.run(  # noqa: S603  # our own interpreter and our own code
                [sys.executable, "-c", program],
                input=data, stdout=text, stderr=errors, timeout=timeout_seconds, check=False,
                env=os.environ | ONE_THREAD,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise ModelUnavailable(f"trial failed: the model did not answer within {timeout_seconds:g} s") from None
        _check_answer(done.returncode, _written(text), _written(errors))


def _written(file: IO[bytes]) -> list[str]:
    """The lines of the child's output, up to its limit."""
    file.seek(0)
    return file.read(OUTPUT_BYTES).decode(errors="replace").splitlines()


def _check_answer(code: int, lines: list[str], complaints: list[str]) -> None:
    if code < 0:
        raise ModelUnavailable(f"trial failed: the process that tried the model died ({_signal(-code)})")
    answers = [line for line in lines if line.startswith(ANSWER)]  # LightGBM may write as well
    if code or not answers:
        complaint = next((line for line in reversed(complaints) if line.strip()), "no reason given")
        raise ModelUnavailable(f"trial failed: {one_line(complaint)}")
    problem = json.loads(answers[-1])["problem"]
    if problem is not None:
        raise ModelUnavailable(f"trial failed: {one_line(problem)}")


def _signal(number: int) -> str:
    with suppress(ValueError):
        return Signals(number).name
    return f"signal {number}"


def main() -> None:
    """The child: the model on standard input, one line of JSON with its problem on standard output."""
    _limit_self()
    try:
        problem = find_problem(unpack_file(sys.stdin.buffer.read(), None))
    except HybridMLError as error:
        problem = str(error)
    except Exception as error:  # anything that a wrong model makes LightGBM or numpy raise
        problem = f"{type(error).__name__}: {one_line(error)}"
    sys.stdout.write("\n" + json.dumps({"problem": problem}) + "\n")


def _limit_self() -> None:
    """Limit this process: memory, processor time, output; and no core file, since a crash is an expected result."""
    try:
        import resource
    except ImportError:  # Windows
        return
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_AS: MEMORY_BYTES,
        resource.RLIMIT_CPU: CPU_SECONDS,
        resource.RLIMIT_FSIZE: OUTPUT_BYTES,
    }
    for limit, most in limits.items():
        with suppress(OSError, ValueError):  # macOS accepts no memory limit below what is mapped
            resource.setrlimit(limit, (most, most))


def find_problem(model: HybridModel) -> str | None:
    """Why `model` cannot answer; None when it can.

    May crash or hang on a wrong model text: call it in a process where that does no harm.
    """
    base = model.base
    booster = base.booster
    if booster.num_feature() != len(base.feature_names) or booster.num_model_per_iteration() != CLASS_COUNT:
        return f"its trees have {booster.num_feature()} features and {booster.num_model_per_iteration()} classes"
    wrong = _wrong_with_trees(base)
    if wrong is not None:
        return wrong
    numbers = np.random.default_rng(0).normal(0, 3, (QUESTIONS, len(base.feature_names)))
    numbers[0], numbers[1], numbers[2] = np.nan, np.finfo(np.float32).max, -np.finfo(np.float32).max
    answers = model.probabilities(numbers.astype(np.float32))
    if not (np.isfinite(answers).all() and np.allclose(answers.sum(axis=1), 1)):
        return "its answers are not probabilities"
    return None


def _wrong_with_trees(base: Base) -> str | None:
    trees = base.booster.dump_model()["tree_info"]  # walks through every node, as a prediction may
    if len(trees) != len(base.leaf_values) or len(trees) % CLASS_COUNT:
        return f"it has {len(trees)} trees and leaf values for {len(base.leaf_values)}"
    reached = [_leaves(tree["tree_structure"]) for tree in trees]
    if any(sorted(leaves) != list(range(len(leaves))) for leaves in reached):
        return "not every leaf of a tree is reached exactly once"
    requested = {feature for tree in trees for feature in _features(tree["tree_structure"])}
    if not requested <= set(range(len(base.feature_names))):
        return f"a tree uses feature {max(requested)} of {len(base.feature_names)}"  # LightGBM would read beyond them
    if max(map(len, reached)) > base.leaf_values.shape[1]:
        return "a tree has more leaves than there are leaf values"
    return None


def _leaves(node: dict[str, Any]) -> list[int]:
    """The leaf numbers under `node`; a tree of one leaf has none in its text."""
    if "split_feature" not in node:
        return [int(node.get("leaf_index", 0))]
    return _leaves(node["left_child"]) + _leaves(node["right_child"])


def _features(node: dict[str, Any]) -> set[int]:
    """The features of the splits under `node`."""
    if "split_feature" not in node:
        return set()
    return {int(node["split_feature"])} | _features(node["left_child"]) | _features(node["right_child"])
