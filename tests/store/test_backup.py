"""Backups: a restore is exact or changes nothing; damaged files are refused in one line."""

import json
import threading
import zipfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import Engine, text

from hybrid_ml.config.settings import load_settings
from hybrid_ml.errors import BadInput, StoreUnavailable
from hybrid_ml.market.bars import clean_bars
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.store import backup as backups
from hybrid_ml.store.backup import make_backup, make_nightly_backup, restore_backup
from hybrid_ml.store.bars import store_bars
from hybrid_ml.store.embedded import administrator_address
from hybrid_ml.store.engine import connect_only
from hybrid_ml.store.schema_version import newest_revision
from hybrid_ml.store.table_copies import copy_out, list_tables
from tests.conftest import WORK, Command
from tests.databases import database
from tests.faults.table import FaultRows

NOW = datetime(2024, 2, 2, 12, tzinfo=UTC)
MODEL = b"\x00\x01\\not a model, but bytes of every kind\n\t\xff" * 1_000
FILL = """
INSERT INTO model_versions (version, symbol, kind, as_of, trained_from, trained_until, data_until, rows, parameters,
    metrics, library_versions, sha256, length, bytes, file_sha256, file_length, status, feature_names)
VALUES ('ABC@1', 'ABC', 'base', now(), now(), now(), now(), 1, '{"a": [1.5, null]}', '{"b": 0.1}', '{}',
    encode(sha256(:bytes), 'hex'), octet_length(:bytes), :bytes, 'f', 1, 'champion', ARRAY['x y', 'ä,"']);
INSERT INTO model_versions (version, symbol, kind, parent, as_of, trained_from, trained_until, data_until, rows,
    parameters, metrics, library_versions, sha256, length, bytes, file_sha256, file_length, status)
VALUES ('AAA@2', 'ABC', 'adapter', 'ABC@1', now(), now(), now(), now(), 1, '{}', '{}', '{}',
    encode(sha256(:bytes), 'hex'), octet_length(:bytes), NULL, 'f', 1, 'adopted');
INSERT INTO predictions (symbol, bar_time, as_of, close, p_down, p_flat, p_up, threshold, direction, confidence,
    model_version, preset, gates, signal, degraded, fell_back)
SELECT 'ABC', TIMESTAMPTZ '2024-02-02 00:00Z' + n * interval '10 minutes', now(), 1.0 / n, 0.1, 0.2, 0.7, 1e-4, 'up',
    0.7, 'ABC@1', 'balanced', '[]', true, false, false FROM generate_series(1, 50) n;
INSERT INTO alerts (kind, symbol, bar_time, prediction_id, text, picture, send_until)
SELECT 'signal', symbol, bar_time, id, E'line\\n\\ttab \\\\ back', :bytes, now() FROM predictions;
INSERT INTO deliveries (alert_id, chat_id) SELECT id, '42' FROM alerts;
INSERT INTO chats (chat_id) VALUES ('42');
INSERT INTO answers_not_counted (symbol, bar_time, as_of, close, p_down, p_flat, p_up, threshold, direction, confidence,
    model_version, preset, gates, signal, degraded, fell_back, reason)
SELECT symbol, bar_time, as_of, close, p_down, p_flat, p_up, threshold, direction, confidence, model_version, preset,
    gates, signal, degraded, fell_back, 'twice' FROM predictions;
"""


@pytest.fixture
def filled(engine: Engine) -> Engine:
    """A database with rows in nearly every table, with all kinds of text, bytes and times."""
    store_bars(engine, "ABC", clean_bars(simulate_bars(NOW, bars=2_000)).bars)
    with engine.begin() as connection:
        for statement in filter(str.strip, FILL.split(";\n")):
            parameters = {"bytes": MODEL} if ":bytes" in statement else {}
            connection.execute(text(statement), parameters)
    return engine


@pytest.fixture
def other(server: str, migrated: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """Another database with the schema and no rows."""
    with database(server, template=migrated) as address:
        monkeypatch.setenv("NEON_CONN_STR", address)
        engine = connect_only(load_settings())
        yield engine
        engine.dispose()


def content(engine: Engine) -> dict:
    with engine.connect() as connection:
        tables = list_tables(connection, [backups.VERSION_TABLE])
        return {table: copy_out(connection, table, None, lambda _: None) for table in tables}


def scratch_databases() -> list[tuple]:
    with closing(psycopg2.connect(administrator_address(WORK))) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database WHERE datname LIKE 'hybrid_ml_scratch%'")
        return cursor.fetchall()


def test_restored_backup_equals_the_original(filled: Engine, other: Engine, tmp_path: Path, faults: FaultRows) -> None:
    path, done = tmp_path / "all.backup", []
    report = make_backup(filled, WORK, path, NOW, done.append)
    rows = {table: digest.rows for table, digest in content(filled).items()}
    assert report.rows == rows
    assert rows["bars"] > 1_900
    assert rows["deliveries"] == rows["answers_not_counted"] == 50
    assert (report.models, report.damaged_models) == (2, [])
    assert sum(done) == 3 * sum(rows.values())
    assert oct(path.stat().st_mode & 0o777) == "0o600"
    assert [path.name for path in tmp_path.iterdir() if "backup" in path.name] == [path.name]

    done.clear()
    restored = restore_backup(other, WORK, path, done.append, replace=False)
    assert content(other) == content(filled)
    assert restored.rows == rows
    assert sum(done) == 4 * sum(rows.values())
    with other.begin() as connection:
        restored_bytes = connection.execute(text("SELECT bytes FROM model_versions WHERE version = 'ABC@1'")).scalar()
        assert bytes(restored_bytes) == MODEL
        number = connection.execute(
            text("INSERT INTO deliveries (alert_id, chat_id) SELECT max(id), '43' FROM alerts RETURNING id")
        )
        assert number.scalar() == 51, "the sequence continues"
    assert scratch_databases() == []
    faults.add(
        "backup, then restore into an empty database",
        f"{sum(rows.values()):,} rows, every sha256 the same",
        report.seconds,
    )


def test_restore_overwrites_rows_only_with_replace(filled: Engine, tmp_path: Path) -> None:
    path = tmp_path / "all.backup"
    make_backup(filled, WORK, path, NOW, lambda _: None)
    before = content(filled)
    with filled.begin() as connection:
        connection.execute(text("DELETE FROM deliveries"))
        connection.execute(text("INSERT INTO chats (chat_id) VALUES ('later')"))
    with pytest.raises(BadInput, match=r"has [\d,]+ rows, which a restore removes; add --replace"):
        restore_backup(filled, WORK, path, lambda _: None, replace=False)
    assert content(filled) != before
    restore_backup(filled, WORK, path, lambda _: None, replace=True)
    assert content(filled) == before
    with pytest.raises(BadInput, match="is there already; choose another"):
        make_backup(filled, WORK, path, NOW, lambda _: None)


class Interrupted(Exception):
    """Stands for an interrupt of the process."""


def test_interrupted_restore_changes_nothing(filled: Engine, tmp_path: Path, faults: FaultRows) -> None:
    path = tmp_path / "all.backup"
    report = make_backup(filled, WORK, path, NOW, lambda _: None)
    with filled.begin() as connection:
        connection.execute(text("INSERT INTO chats (chat_id) VALUES ('later')"))
    before, done = content(filled), []

    def stop_late(rows: int) -> None:
        done.append(rows)
        if sum(done) > 3.9 * sum(report.rows.values()):
            raise Interrupted

    with pytest.raises(Interrupted):
        restore_backup(filled, WORK, path, stop_late, replace=True)
    assert content(filled) == before
    assert scratch_databases() == []
    faults.add("restore interrupted when nearly all rows were in", "nothing changed", 0.0)


def test_restore_fails_while_another_process_uses_the_tables(
    filled: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "all.backup"
    make_backup(filled, WORK, path, NOW, lambda _: None)
    monkeypatch.setattr(backups, "LOCK_SECONDS", 1)
    with filled.begin() as user:
        user.execute(text("INSERT INTO chats (chat_id) VALUES ('busy')"))
        with pytest.raises(StoreUnavailable, match=r"another process uses the tables .* nothing was changed; stop"):
            restore_backup(filled, WORK, path, lambda _: None, replace=True)


def test_backup_is_a_snapshot_despite_concurrent_writes(filled: Engine, tmp_path: Path) -> None:
    """All tables are of one snapshot."""
    expected, is_written = content(filled), threading.Event()

    def write_once(_: int) -> None:
        if not is_written.is_set():
            is_written.set()
            with filled.begin() as connection:
                connection.execute(text("DELETE FROM deliveries"))

    report = make_backup(filled, WORK, tmp_path / "all.backup", NOW, write_once)
    assert report.rows == {table: digest.rows for table, digest in expected.items()}
    assert content(filled) != expected


def damage(path: Path, kind: str) -> None:
    data = path.read_bytes()
    if kind == "cut off":
        path.write_bytes(data[: len(data) // 2])
    elif kind == "one bit flipped":
        path.write_bytes(data[:3_000] + bytes([data[3_000] ^ 1]) + data[3_001:])
    elif kind == "something else":
        path.write_text("time,open,high,low,close,volume\n")
    elif kind == "empty":
        path.write_bytes(b"")
    else:
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        if kind == "another archive":
            parts = {"a.txt": b"hello"}
        elif kind == "a row changed":
            parts["chats.copy"] = parts["chats.copy"].replace(b"42", b"43")
        elif kind == "a table gone":
            manifest = json.loads(parts["manifest.json"])
            del manifest["tables"]["bars"]
            parts["manifest.json"] = json.dumps(manifest).encode()
        elif kind == "of a newer program":
            parts["manifest.json"] = parts["manifest.json"].replace(newest_revision().encode(), b"9999")
        with zipfile.ZipFile(path, "w") as archive:
            for name, part in parts.items():
                archive.writestr(name, part)


DAMAGES = {
    "cut off": "damaged, or no backup",
    "one bit flipped": "is damaged: rows in it cannot be read",
    "something else": "damaged, or no backup",
    "empty": "damaged, or no backup",
    "another archive": "damaged, or no backup",
    "a row changed": "is damaged: table chats has another checksum",
    "a table gone": "is damaged: its tables are not those of schema",
    "of a newer program": "was made by a newer hybrid-ml",
}


def test_damaged_backup_is_refused_in_one_line_and_changes_nothing(
    filled: Engine, tmp_path: Path, faults: FaultRows
) -> None:
    path = tmp_path / "all.backup"
    make_backup(filled, WORK, path, NOW, lambda _: None)
    whole, before = path.read_bytes(), content(filled)
    for kind, message in DAMAGES.items():
        path.write_bytes(whole)
        damage(path, kind)
        with pytest.raises(BadInput, match=message) as refused:
            restore_backup(filled, WORK, path, lambda _: None, replace=True)
        assert "\n" not in str(refused.value)
        assert str(path) in str(refused.value)
        faults.add(f"restore of a backup: {kind}", str(refused.value).replace(str(path), "FILE"), 0.0)
    with pytest.raises(BadInput, match="cannot be read"):
        restore_backup(filled, WORK, tmp_path / "none", lambda _: None, replace=True)
    assert content(filled) == before
    assert scratch_databases() == []


def test_backup_that_fails_its_trial_restore_leaves_no_file(
    filled: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trial restore detects a row that was changed after writing."""
    load = backups._load

    def load_and_change(path: Path, manifest: backups.Manifest, connection, advance) -> None:
        load(path, manifest, connection, advance)
        connection.execute(text("UPDATE bars SET close = close + 1e-9 WHERE time = (SELECT min(time) FROM bars)"))

    monkeypatch.setattr(backups, "_load", load_and_change)
    with pytest.raises(StoreUnavailable, match=r"table bars has .* the backup is not usable"):
        make_backup(filled, WORK, tmp_path / "all.backup", NOW, lambda _: None)
    assert [path.name for path in tmp_path.iterdir() if "backup" in path.name] == []


def test_damaged_models_are_named_in_the_report(filled: Engine, tmp_path: Path) -> None:
    with filled.begin() as connection:
        connection.execute(text("UPDATE model_versions SET bytes = :bytes WHERE version = 'ABC@1'"), {"bytes": b"x"})
    report = make_backup(filled, WORK, tmp_path / "all.backup", NOW, lambda _: None)
    assert report.damaged_models == ["ABC@1"]


def test_newest_nightly_backups_and_other_files_are_kept(engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    for night in range(4):
        make_nightly_backup(engine, WORK, folder, 2, NOW + timedelta(days=night))
        (folder / "hybrid-ml-by-hand.backup").touch()
    assert sorted(path.name for path in folder.iterdir()) == [
        "hybrid-ml-20240204T120000Z.backup",
        "hybrid-ml-20240205T120000Z.backup",
        "hybrid-ml-by-hand.backup",
    ]


def test_backup_and_restore_commands_work(filled: Engine, command: Command, tmp_path: Path) -> None:
    path = tmp_path / "all.backup"
    done = command("backup", "--path", str(path), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"]["chats"] == 1
    refused = command("restore", "--path", str(path))
    assert refused.returncode == 1
    assert len(refused.stderr.strip().splitlines()) == 1, refused.stderr
    assert "add --replace" in refused.stderr
    with filled.begin() as connection:
        connection.execute(text("DELETE FROM chats"))
    restored = command("restore", "--path", str(path), "--replace")
    assert restored.returncode == 0, restored.stderr
    assert "every row is the same" in restored.stdout
    with filled.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM chats")).scalar() == 1
