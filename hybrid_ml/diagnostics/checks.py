"""Checks of this installation: one finding for each part, without side effects in production."""

import json
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from hybrid_ml.alerts.telegram import whoami
from hybrid_ml.config.settings import Settings
from hybrid_ml.diagnostics.dry_run import dry_run
from hybrid_ml.diagnostics.finding import Finding
from hybrid_ml.diagnostics.settings_table import format_overrides
from hybrid_ml.diagnostics.sizes import measure_sizes
from hybrid_ml.errors import CalendarEnded, HybridMLError, StoreUnavailable
from hybrid_ml.health.disk import free_disks
from hybrid_ml.health.problems import problem_text
from hybrid_ml.health.state_file import monitored
from hybrid_ml.market.bars import BAR_LENGTH, FUTURE_REMEDY, age_minutes, future_problem
from hybrid_ml.market.sessions import ALWAYS_OPEN
from hybrid_ml.pipeline.run import make_run
from hybrid_ml.registry.access import load_saved_model
from hybrid_ml.reporting.wording import format_closed
from hybrid_ml.schemas.requests import Request
from hybrid_ml.signals.gates import LATEST_MINUTES
from hybrid_ml.store import bars as stored_bars
from hybrid_ml.store import model_registry as registry
from hybrid_ml.store import outbox
from hybrid_ml.store.database_errors import describe
from hybrid_ml.store.engine import connect_only, ignored_parameters, open_engine, open_for_writing, shown
from hybrid_ml.store.schema_version import newest_revision
from hybrid_ml.store.sessions import read_sessions
from hybrid_ml.text.counts import counted

PREFECT_TIMEOUT_SECONDS = 5
CLOCKS_APART_SECONDS = 5
NEED_DATABASE = {"schema", "sizes", "clock", "freshness", "model", "alerts"}
"""Parts that would fail with the same message as the database or its schema; those are reported once."""


Check = Callable[[Settings], Finding]


def check_up(
    settings: Settings, prefect_api_url: str | None, unread: str | None = None, authorization: str = ""
) -> Iterator[Finding]:
    """Check each part in turn; a part that raises has failed, and the next one is still checked.

    `authorization`: the header of that name for the Prefect server, where it needs one.
    `unread`: why the blocks of the Prefect server could not be read, if so; the other checks then use none.
    """
    parts: dict[str, Check] = {
        "settings": lambda settings: _settings(settings, unread),
        "disk": _disk,
        "database": _database,
        "schema": _schema,
        "sizes": _sizes,
        "clock": _clock,
        "freshness": _freshness,
        "model": _model,
        "telegram": _telegram,
        "alerts": _alerts,
        "prefect": lambda _: _prefect(prefect_api_url, authorization),
        "health": _health,
        "dry run": lambda _: _dry_run(),
    }
    usable = True
    for name, check in parts.items():
        if name in NEED_DATABASE and not usable:
            yield Finding(name, "warning", "not checked: the database cannot be used")
            continue
        try:
            yield check(settings)
        except Exception as error:  # any error of a check is its result
            yield Finding(name, "failed", _one_line(error))
            usable = usable and not isinstance(error, StoreUnavailable)


def _one_line(error: Exception) -> str:
    if isinstance(error, HybridMLError):
        return str(error)
    return f"{type(error).__name__}: {describe(error) if isinstance(error, SQLAlchemyError) else error}"


def _settings(settings: Settings, unread: str | None) -> Finding:
    """The settings that differ from the defaults, and their sources."""
    if unread:
        return Finding("settings", "failed", f"{unread}; the following checks do not use them")
    return Finding("settings", "fine", format_overrides(settings))


def _database(settings: Settings) -> Finding:
    started = time.perf_counter()
    engine = connect_only(settings)
    with engine.connect() as connection:
        version = connection.execute(text("SHOW server_version")).scalar_one()
    elapsed_ms = (time.perf_counter() - started) * 1000
    answered = f"{shown(engine)}, PostgreSQL {version}, answered in {elapsed_ms:.0f} ms"
    ignored = ignored_parameters(settings)
    advice = f"; without effect here, remove from the address: {', '.join(ignored)}" if ignored else ""
    return Finding("database", "fine", answered + advice)


def _schema(settings: Settings) -> Finding:
    open_for_writing(settings)
    return Finding("schema", "fine", f"at revision {newest_revision()}, the newest, with every right that runs need")


def _sizes(settings: Settings) -> Finding:
    with open_engine(settings).connect() as connection:
        return Finding("sizes", "fine", str(measure_sizes(connection, settings)))


def _disk(settings: Settings) -> Finding:
    """A full disk stops both databases, and therefore alerts."""
    disks = free_disks(settings)
    state: Literal["fine", "warning", "failed"] = "warning" if any(disk.is_low for disk in disks) else "fine"
    if any(disk.is_nearly_full for disk in disks):
        state = "failed"
    return Finding("disk", state, "; ".join(map(str, disks)))


def _clock(settings: Settings) -> Finding:
    """The database's clock decides whether an alert is still fresh, this machine's which bars are the newest."""
    with open_engine(settings).connect() as connection:
        before = datetime.now(UTC)
        theirs = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
        ours = before + (datetime.now(UTC) - before) / 2
    apart = (ours - theirs).total_seconds()
    if abs(apart) <= CLOCKS_APART_SECONDS:
        return Finding("clock", "fine", f"within {CLOCKS_APART_SECONDS} s of the database's")
    where = "ahead of" if apart > 0 else "behind"
    remedy = "synchronise both by NTP: otherwise bars seem too old, or alerts expire too early"
    return Finding("clock", "warning", f"{abs(apart):,.0f} s {where} the database's; {remedy}")


def _symbols(settings: Settings, engine: Engine) -> list[str]:
    with engine.connect() as connection:
        newest_bars, symbols = stored_bars.newest_bars_without_feed(connection), stored_bars.symbols(connection)
    return make_run(Request(), settings, symbols, datetime.now(UTC), newest_bars).symbols


def _freshness(settings: Settings) -> Finding:
    engine, limit = open_engine(settings), LATEST_MINUTES
    now, message, old, failed = datetime.now(UTC), [], False, False
    symbols = _symbols(settings, engine)
    with engine.connect() as connection:
        calendars = read_sessions(connection, symbols)
    for symbol in symbols:
        with engine.connect() as connection:
            newest = stored_bars.bar_span(connection, symbol).last.astimezone(UTC)
        sessions = calendars.get(symbol, ALWAYS_OPEN)
        try:
            problem, closed_until = future_problem(newest, now), sessions.closed_until(now)
        except CalendarEnded as error:
            failed = True
            message.append(f"{symbol}: {error}")
            continue
        until = f"{symbol} until {newest:%Y-%m-%d %H:%M} UTC"
        if problem:
            failed = True
            message.append(f"{symbol}: {problem}; {FUTURE_REMEDY}")
        elif closed_until:
            message.append(f"{until}, {format_closed(closed_until)}")
        else:
            old = old or sessions.open_minutes(newest + BAR_LENGTH, now) > limit
            message.append(f"{until} ({_format_age(age_minutes(newest, now))} old)")
    advice = f"; bars older than {counted(limit, 'minute')} give no signal" if old else ""
    return Finding("freshness", "failed" if failed else "warning" if old else "fine", ", ".join(message) + advice)


def _format_age(minutes: float) -> str:
    for unit, size in (("days", 1440), ("hours", 60)):
        if minutes >= 2 * size:
            return f"{minutes / size:,.0f} {unit}"
    return counted(round(minutes), "minute")


def _model(settings: Settings) -> Finding:
    engine, message, missing = open_engine(settings), [], []
    for symbol in _symbols(settings, engine):
        with engine.connect() as connection:
            there = registry.find_champion(connection, symbol)
        if there is None:
            missing.append(symbol)
        else:
            message.append(str(load_saved_model(symbol)))
    if missing:
        message.append(f"none yet for {', '.join(missing)}: the first analysis, or train_model.py, trains one")
    return Finding("model", "warning" if missing else "fine", "; ".join(message))


def _telegram(settings: Settings) -> Finding:
    if not settings.telegram_configured:
        return Finding("telegram", "warning", f"{settings.missing_telegram_settings}: alerts go to the log")
    chats = ", ".join(f"chat {chat_id}" for chat_id in settings.chat_ids)
    return Finding("telegram", "fine", f"the bot is @{whoami(settings)}, alerts go to {chats}")


def _alerts(settings: Settings) -> Finding:
    """The states of the alerts of the last day."""
    with open_engine(settings).connect() as connection:
        states = outbox.states_since(connection, datetime.now(UTC) - timedelta(days=1))
    if not states:
        return Finding("alerts", "fine", "none in the last 24 hours")
    message = ", ".join(f"{count} {state}" for state, count in states.items())
    lost = states.keys() & {"refused", "unconfirmed", "expired"}
    advice = "; `hybrid-ml review` shows the chats, and table deliveries the reasons" if lost else ""
    return Finding("alerts", "warning" if lost else "fine", f"{message} in the last 24 hours{advice}")


def _health(settings: Settings) -> Finding:
    """Open problems that the monitor of this installation has reported."""
    opened, silent = monitored(settings.data_dir, datetime.now(UTC))
    lines = [problem_text(problem) for problem in opened] + ([silent] if silent else [])
    return Finding("health", "warning" if lines else "fine", " | ".join(lines) or "the monitor reports no problem")


def _prefect(api_url: str | None, authorization: str) -> Finding:
    if not api_url:
        return Finding(
            "prefect",
            "warning",
            "PREFECT_API_URL is not set: every command starts its own server, about ten seconds",
        )
    headers = {"Authorization": authorization} if authorization else {}
    request = urllib.request.Request(f"{api_url.rstrip('/')}/admin/version", headers=headers)  # noqa: S310  # the user's own server
    try:
        with urllib.request.urlopen(request, timeout=PREFECT_TIMEOUT_SECONDS) as answer:  # noqa: S310  # the same
            version = json.load(answer)
    except urllib.error.HTTPError as error:
        remedy = "check PREFECT_API_AUTH_STRING or PREFECT_API_KEY" if error.code in (401, 403) else "see its log"
        return Finding("prefect", "failed", f"{api_url} answers with {error.code}; {remedy}")
    except (urllib.error.URLError, OSError, ValueError) as error:
        return Finding("prefect", "failed", f"no answer from {api_url} ({error}); start it with `prefect server start`")
    return Finding("prefect", "fine", f"server {version} at {api_url}")


def _dry_run() -> Finding:
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="hybrid-ml-check-") as folder:
        message = dry_run(Path(folder))
    return Finding("dry run", "fine", f"{message}, {time.perf_counter() - started:.1f} s in a scratch space")
