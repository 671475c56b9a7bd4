"""The GitHub workflows: valid schema, and their commands run in fresh copies of the checkout."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine

from hybrid_ml.config.settings import load_settings
from hybrid_ml.store.bars import store_bars
from hybrid_ml.store.engine import connect_only, migrate
from tests.conftest import ROOT
from tests.flows.running import rows
from tests.simulated import bars_until
from tests.telegram_server import TOKEN, bot_api
from tests.ways.files import SECRETS, SERVICE_WORKFLOWS, SET_UP, WORKFLOWS, read, steps

BY_NAME = {path.stem: path for path in WORKFLOWS}
NOT_IN_A_CHECKOUT = (".git", ".venv", ".data", "*.pkl", "*.json", ".*_cache", "__pycache__", "*.egg-info")


FORMS = sorted(path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")


def test_workflows_and_issue_forms_exist() -> None:
    assert set(BY_NAME) == {"analysis", "weekly-training", "checks", "release"}
    assert {path.stem for path in SERVICE_WORKFLOWS} == {"analysis", "weekly-training"}
    assert {path.stem for path in FORMS} == {"bug", "feature"}


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        *(("vendor.github-workflows", path) for path in WORKFLOWS),
        ("vendor.github-actions", SET_UP),
        *(("vendor.github-issue-forms", path) for path in FORMS),
        ("vendor.github-issue-config", FORMS[0].with_name("config.yml")),
    ],
    ids=lambda value: value if isinstance(value, str) else value.stem,
)
def test_github_files_match_their_schemas(schema: str, path: Path) -> None:
    program = Path(sys.executable).with_name("check-jsonschema")
    done = subprocess.run([program, "--builtin-schema", schema, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_have_minimal_permissions_and_timeouts(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    job_permissions = {name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job}
    assert job_permissions == ({"release": {"contents": "write"}} if path.stem == "release" else {})
    for job in workflow["jobs"].values():
        assert job.get("uses") == "./.github/workflows/checks.yml" or 0 < job["timeout-minutes"] <= 90


@pytest.mark.parametrize("path", SERVICE_WORKFLOWS, ids=lambda path: path.stem)
def test_service_workflows_do_not_cancel_running_ones(path: Path) -> None:
    workflow = read(path)
    assert workflow["concurrency"] == {"group": f"hybrid-ml-{path.stem}", "cancel-in-progress": False}
    assert len(workflow["jobs"]) == 1
    assert set(workflow[True]) == {"schedule", "workflow_dispatch"}


def test_checks_workflow_runs_ci_script_on_pull_requests() -> None:
    workflow = read(BY_NAME["checks"])
    assert workflow["concurrency"] == {"group": "hybrid-ml-checks-${{ github.ref }}", "cancel-in-progress": True}
    assert set(workflow[True]) == {"pull_request", "workflow_call"}
    assert steps(BY_NAME["checks"])[-1]["run"] == ".ci/run"
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_release_workflow_requires_a_tag_and_passed_checks() -> None:
    workflow = read(BY_NAME["release"])
    assert workflow["concurrency"] == {"group": "hybrid-ml-release-${{ github.ref }}", "cancel-in-progress": False}
    assert workflow[True] == {"push": {"tags": ["v*"]}}
    assert workflow["jobs"]["checks"] == {"uses": "./.github/workflows/checks.yml"}
    assert workflow["jobs"]["release"]["needs"] == "checks"


def test_schedules_are_the_documented_ones() -> None:
    crons = {path.stem: [entry["cron"] for entry in read(path)[True]["schedule"]] for path in SERVICE_WORKFLOWS}
    assert crons == {"analysis": ["*/10 * * * *"], "weekly-training": ["0 0 * * 0"]}


@pytest.mark.parametrize("path", [*WORKFLOWS, SET_UP], ids=lambda path: path.stem)
def test_external_actions_are_pinned_to_a_commit(path: Path) -> None:
    actions = re.findall(r"uses: (\S+)", path.read_text())
    assert actions
    own = r"\./\.github/(?:actions/set-up|workflows/checks\.yml)"
    assert [name for name in actions if not re.fullmatch(rf"actions/[\w-]+@[0-9a-f]{{40}}|{own}", name)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_secrets_are_passed_only_to_steps_with_own_commands(path: Path) -> None:
    text = path.read_text()
    passed_secrets = re.findall(r"^          (\w+): \$\{\{ secrets\.\1 \}\}$", text, flags=re.MULTILINE)
    assert text.count(" secrets.") == len(passed_secrets)
    for step in steps(path):
        assert "${{" not in step.get("run", "")  # input of a person must not become part of a script
        secret_names = {name for name in step.get("env", {}) if name in SECRETS}
        if secret_names:
            assert step["run"].startswith((".github/require_secrets.sh", "hybrid-ml", "rows="))


@pytest.mark.parametrize("missing", SECRETS)
def test_missing_secret_is_named_with_remedy_and_no_value_is_shown(missing: str) -> None:
    environment = {"PATH": os.environ["PATH"], **dict.fromkeys(SECRETS, "s3cret"), missing: ""}
    for path in SERVICE_WORKFLOWS:
        step = next(step for step in steps(path) if step["name"] == "Are the secrets set?")
        done = _bash(step["run"], ROOT, environment)
        assert done.returncode == 1
        assert f"not set: {missing}." in done.stdout
        assert "Settings > Secrets and variables > Actions" in done.stdout
        assert "s3cret" not in done.stdout + done.stderr


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """A copy of the checkout as it is when version 1.2.3 is released."""
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*NOT_IN_A_CHECKOUT, "build"), symlinks=True)
    for name, before, after in (
        ("pyproject.toml", r'^version = ".*"$', 'version = "1.2.3"'),
        ("prefect.yaml", r"^    version: .*$", "    version: 1.2.3"),
        ("CHANGELOG.md", r"^## .*$", "## 1.2.3, 2027-01-31\n\n- First line.\n- Second line.\n\n## 1.2.2, 2027-01-01"),
    ):
        text, count = re.subn(before, after, (folder / name).read_text(), flags=re.MULTILINE)
        assert count
        (folder / name).write_text(text)
    return folder


def test_release_has_complete_wheel_and_changelog_section(released: Path, tmp_path: Path) -> None:
    """Runs the steps in bash, in order; `gh` is a fake that logs its arguments."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "gh").write_text('#!/bin/sh\nprintf "%s\\n" "$@" > called\n')
    (programs / "gh").chmod(0o755)
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": str(tmp_path), "GITHUB_REF_NAME": "v1.2.3", "GH_TOKEN": "s3cret"}
    for step in steps(BY_NAME["release"]):
        if "run" in step:
            done = _bash(step["run"], released, environment)
            assert done.returncode == 0, f"{step['name']}: {done.stdout}{done.stderr}"
    wheel = "dist/hybrid_ml-1.2.3-py3-none-any.whl"
    called = (released / "called").read_text().split("\n")
    assert called[:3] == ["release", "create", "v1.2.3"]
    assert {"--verify-tag", wheel, "requirements.lock"} <= set(called)
    assert (released / "notes.md").read_text() == "- First line.\n- Second line.\n"
    wheel_files = set(zipfile.ZipFile(released / wheel).namelist())
    packages = ("hybrid_ml", "flows", "tasks", "deployments")
    source_files = {path for name in packages for kind in ("*.py", "*.sql") for path in (ROOT / name).rglob(kind)}
    missing = {path.relative_to(ROOT).as_posix() for path in source_files} - wheel_files
    assert missing <= {"deployments/compose/create_prefect_database.sql"}  # compose.yaml mounts it from the checkout


@pytest.mark.parametrize(
    ("tag", "name", "before", "after", "problem"),
    [
        ("v1.2.4", "", "", "", "tag v1.2.4 is not version 1.2.3 of pyproject.toml"),
        (
            "v1.2.3",
            "CHANGELOG.md",
            "1.2.3, 2027-01-31",
            "1.2.3, unreleased",
            "section 1.2.3 of CHANGELOG.md is unreleased",
        ),
        ("v1.2.3", "CHANGELOG.md", "## 1.2.3,", "## 1.3.0,", "CHANGELOG.md has no section 1.2.3"),
        ("v1.2.3", "CHANGELOG.md", "- First line.\n- Second line.\n", "", "section 1.2.3 of CHANGELOG.md is empty"),
        ("v1.2.3", "prefect.yaml", "version: 1.2.3", "version: 1.2.2", "prefect.yaml has deployments of version 1.2.2"),
    ],
)
def test_incomplete_release_is_refused_in_one_line(
    released: Path, tag: str, name: str, before: str, after: str, problem: str
) -> None:
    if name:
        (released / name).write_text((released / name).read_text().replace(before, after))
    program = ROOT / ".github" / "release_notes.py"
    done = subprocess.run([sys.executable, program, tag], cwd=released, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"release: {problem}")
    assert done.stderr.count("\n") == 1


def test_pre_commit_hooks_equal_make_lint() -> None:
    (repo,) = read(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repo["repo"] == "local"
    assert {hook["language"] for hook in repo["hooks"]} == {"system"}
    hooks = {tuple(_plain_words(hook["entry"])) for hook in repo["hooks"]}
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert recipe is not None
    assert hooks == {tuple(_plain_words(line.replace("$(BIN)", ".venv/bin"))) for line in recipe[1].splitlines()}
    for program, *_ in hooks:
        assert Path(sys.executable).with_name(Path(program).name).is_file()


def _plain_words(command: str) -> list[str]:
    """The command without its caller's additions: the flag for exclusions, and the folder."""
    return [word for word in command.split() if word not in ("--force-exclude", ".")]


@pytest.fixture
def market(address: str, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A database with simulated bars until now only."""
    monkeypatch.setenv("NEON_CONN_STR", address)
    engine = connect_only(load_settings())
    migrate(engine)
    store_bars(engine, "SIM", bars_until(datetime.now(UTC).replace(second=0, microsecond=0), 6_000, missing_share=0.0))
    return engine


def test_second_run_uses_the_model_of_the_first(market: Engine, prefect_api: str, tmp_path: Path) -> None:
    """The training twice, then the analysis, always on a fresh machine; only the database keeps the models."""
    training, analysis = BY_NAME["weekly-training"], BY_NAME["analysis"]
    with bot_api() as api:
        # The first run has its own Prefect server, as on GitHub; the others use that of the session, which is faster.
        _run(training, tmp_path / "1", {"limit": "3000"}, TELEGRAM_BASE_URL=api.base_url)
        server = {"PREFECT_API_URL": prefect_api, "TELEGRAM_BASE_URL": api.base_url}
        _run(training, tmp_path / "2", {"limit": "4000"}, **server)
        output = _run(analysis, tmp_path / "3", {"disable_sleep_window": "yes", "symbols": "SIM"}, **server)
        assert _base_of(output, market) == _champion(market)
    first_promotions = "SELECT count(*) FROM model_events WHERE event = 'promoted' AND reason = 'there was no champion'"
    assert rows(market, first_promotions) == [(1,)]  # the first training only; the second found its model


def _champion(market: Engine) -> str:
    ((version,),) = rows(market, "SELECT version FROM model_versions WHERE status = 'champion'")
    return version


def _base_of(printed: str, market: Engine) -> str:
    """The base of the model that an analysis printed."""
    (version,) = re.findall(r"^  model (SIM@\S+),", printed, flags=re.MULTILINE)
    ((base,),) = rows(market, f"SELECT coalesce(parent, version) FROM model_versions WHERE version = '{version}'")
    return base


def _run(workflow: Path, folder: Path, inputs: dict[str, str], **environment: str) -> str:
    """All `run:` steps of a workflow in bash, in order, in a fresh copy of this checkout; returns their output.

    Python and the installation are those of this environment.
    """
    shutil.copytree(ROOT, folder / "checkout", ignore=shutil.ignore_patterns(*NOT_IN_A_CHECKOUT), symlinks=True)
    assert [path.name for path in (folder / "checkout" / "models").iterdir()] == [".gitkeep"]
    secrets = {"NEON_CONN_STR": os.environ["NEON_CONN_STR"], "TELEGRAM_BOT_TOKEN": TOKEN, "TELEGRAM_CHAT_ID": "42"}
    machine = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "PYTHONPATH": str(folder / "checkout"),  # the copy, not the checkout that is installed here
        **environment,
    }
    printed = ""
    for step in steps(workflow):
        if "run" in step:
            step_environment = {name: _value(value, secrets, inputs) for name, value in step.get("env", {}).items()}
            done = _bash(step["run"], folder / "checkout", machine | step_environment)
            printed += done.stdout + done.stderr
            assert done.returncode == 0, f"{step['name']}: {printed}"
    assert TOKEN not in printed
    return printed


def _value(expression: str, secrets: dict[str, str], inputs: dict[str, str]) -> str:
    """The value of an expression in a workflow, as on GitHub."""
    kind, name, rest = re.fullmatch(r"\$\{\{ (secrets|inputs|vars)\.(\w+)(.*) \}\}", expression).groups()  # type: ignore[union-attr]
    if kind == "vars":
        return ""  # a variable that nobody made
    if kind == "secrets":
        return secrets[name]
    default = re.fullmatch(r" \|\| '(\w+)'", rest)
    return inputs.get(name, default[1] if default else "")


def _bash(script: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess:
    """Run a step's script with `bash -e`, as a runner does by default."""
    command = ["bash", "-e", "-c", script]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=400, check=False
    )
