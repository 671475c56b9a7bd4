"""Backups: all tables of the project's database in one file, which is kept only after a test restore was compared."""

import os
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO

import psycopg2
from psycopg2 import errors
from pydantic import BaseModel, Field
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.pool import NullPool

from hybrid_ml.errors import BadInput, StoreUnavailable
from hybrid_ml.store.embedded import scratch_database
from hybrid_ml.store.engine import shown, upgrade
from hybrid_ml.store.output_files import errors_as_bad_input
from hybrid_ml.store.schema_version import VERSION_TABLE, newest_revision
from hybrid_ml.store.table_copies import (
    Advance,
    TableDigest,
    copy_in,
    copy_out,
    count_rows,
    damaged_models,
    empty,
    list_tables,
)
from hybrid_ml.text.counts import counted

KIND, FORMAT, MANIFEST = "hybrid-ml backup", 1, "manifest.json"
MOST_MANIFEST_BYTES = 1_000_000
DAMAGED = (zipfile.BadZipFile, zlib.error, KeyError, EOFError, ValueError, NotImplementedError, RuntimeError)
"""What reading a damaged archive may raise; pydantic's errors are ValueErrors."""
LOCK_SECONDS = 30
"""How long a restore waits for processes that use the tables."""
NAME = "hybrid-ml-{:%Y%m%dT%H%M%SZ}.backup"
NAMES = "hybrid-ml-????????T??????Z.backup"


class Manifest(BaseModel):
    """The description in a backup; written into it last."""

    kind: str
    format: int
    created_at: datetime
    revision: str = Field(pattern=r"^[0-9]{4}$")
    tables: dict[str, TableDigest]


class BackupReport(BaseModel):
    """The content of a backup that was written or restored; `rows` by table."""

    path: Path
    database: str
    created_at: datetime
    revision: str
    rows: dict[str, int]
    models: int
    damaged_models: list[str]
    bytes: int
    seconds: float


def rows_to_copy(engine: Engine) -> int:
    """How many rows the database holds, for a progress bar."""
    with engine.connect() as connection:
        return count_rows(connection, list_tables(connection, [VERSION_TABLE]))


def make_backup(engine: Engine, data_dir: Path, path: Path, now: datetime, advance: Advance) -> BackupReport:
    """Write the database behind `engine` to `path`, and restore it into a scratch database that is compared with it.

    `advance` gets the number of rows done, three times for each row: written, restored, compared. The scratch database
    is on the embedded PostgreSQL in `data_dir`. Raises BadInput where the file exists or none can be written;
    StoreUnavailable where the restored rows differ from the written ones. Neither leaves a file behind.
    """
    started = time.perf_counter()
    if path.exists():
        raise BadInput(f"--path {path} is there already; choose another, or remove it")
    with errors_as_bad_input(path, "--path"), _temporary(path) as beside, scratch_database(data_dir) as address:
        with _scratch(address) as scratch:
            upgrade(scratch, newest_revision())
            tables = list_tables(scratch, [VERSION_TABLE])
        manifest = _write(engine, beside, tables, now, advance)
        with _scratch(address) as scratch:
            _load(beside, manifest, scratch, advance)
            _compare(scratch, manifest, advance)
            damaged = damaged_models(scratch)
            models = count_rows(scratch, ["model_versions"])
        _keep(beside, path)
    return _report(engine, path, manifest, models, damaged, started)


def restore_backup(engine: Engine, data_dir: Path, path: Path, advance: Advance, *, replace: bool) -> BackupReport:
    """Replace the database's rows by the backup's, all or none, after a test restore into a scratch database.

    `advance` gets the number of rows done, four times for each row. Raises BadInput where the file is damaged or no
    backup, or where the database has rows and `replace` is false; StoreUnavailable where the tables are in use.
    """
    started = time.perf_counter()
    manifest = read_manifest(path)
    _refuse_rows(engine, replace=replace)
    with scratch_database(data_dir) as address:
        with _scratch(address) as scratch:
            upgrade(scratch, manifest.revision)
            _load(path, manifest, scratch, advance)
            _compare(scratch, manifest, advance)
            upgrade(scratch, newest_revision())
            damaged = damaged_models(scratch)
            models = count_rows(scratch, ["model_versions"])
        with _scratch(address) as scratch:
            _carry_over(scratch, engine, advance, replace=replace)
    return _report(engine, path, manifest, models, damaged, started)


def _report(
    engine: Engine, path: Path, manifest: Manifest, models: int, damaged: list[str], started: float
) -> BackupReport:
    return BackupReport(
        path=path,
        database=shown(engine),
        created_at=manifest.created_at,
        revision=manifest.revision,
        rows={table: digest.rows for table, digest in manifest.tables.items()},
        models=models,
        damaged_models=damaged,
        bytes=path.stat().st_size,
        seconds=round(time.perf_counter() - started, 3),
    )


def make_nightly_backup(engine: Engine, data_dir: Path, folder: Path, keep: int, now: datetime) -> BackupReport:
    """A backup named after its moment in `folder`; of these the newest `keep` stay, other files are left alone."""
    with errors_as_bad_input(folder, "HYBRID_ML_BACKUP_DIR"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    report = make_backup(engine, data_dir, folder / NAME.format(now), now, lambda _: None)
    for old in sorted(folder.glob(NAMES))[:-keep]:
        old.unlink(missing_ok=True)
    return report


def read_manifest(path: Path) -> Manifest:
    """The backup's manifest. Raises BadInput where the file is missing, damaged, no backup, or a newer program's."""
    try:
        if path.exists() and not path.is_file():
            raise BadInput(f"--path {path} is no file; name a file of `hybrid-ml backup`")
        with zipfile.ZipFile(path) as archive, archive.open(MANIFEST) as member:
            # The size in the archive's header is not trusted: an archive of a few MB may hold gigabytes.
            manifest = Manifest.model_validate_json(member.read(MOST_MANIFEST_BYTES))
    except OSError as error:
        raise BadInput(f"--path {path} cannot be read ({error.strerror}); name a file of `hybrid-ml backup`") from None
    except DAMAGED:
        raise BadInput(f"--path {path} is damaged, or no backup; name another file of `hybrid-ml backup`") from None
    if manifest.kind != KIND:
        raise BadInput(f"--path {path} is no backup; name a file of `hybrid-ml backup`")
    if manifest.format > FORMAT or manifest.revision > newest_revision():
        raise BadInput(
            f"--path {path} was made by a newer hybrid-ml (schema {manifest.revision}, here {newest_revision()}); "
            "update this one"
        )
    return manifest


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A file beside `path`, readable by this account alone; removed afterwards unless it was renamed."""
    opened, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.")
    os.close(opened)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _keep(beside: Path, path: Path) -> None:
    """Rename the temporary file once it is completely on disk."""
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    beside.replace(path)


@contextmanager
def _scratch(address: str) -> Iterator[Connection]:
    engine = create_engine(address.replace("postgresql://", "postgresql+psycopg2://"), poolclass=NullPool)
    with engine.begin() as connection:
        yield connection


def _write(engine: Engine, beside: Path, tables: list[str], now: datetime, advance: Advance) -> Manifest:
    """All tables as of one moment, even while other processes write."""
    digests = {}
    with (
        engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection,
        connection.begin(),
        zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        for table in tables:
            with archive.open(f"{table}.copy", "w", force_zip64=True) as stream:
                digests[table] = copy_out(connection, table, stream, advance)
        manifest = Manifest(kind=KIND, format=FORMAT, created_at=now, revision=newest_revision(), tables=digests)
        archive.writestr(MANIFEST, manifest.model_dump_json(indent=2))
    return manifest


def _load(path: Path, manifest: Manifest, connection: Connection, advance: Advance) -> None:
    """Load every table into the empty ones of `connection`. Raises BadInput where the file is damaged."""
    if set(manifest.tables) != set(list_tables(connection, [VERSION_TABLE])):
        raise BadInput(f"--path {path} is damaged: its tables are not those of schema {manifest.revision}")
    try:
        with zipfile.ZipFile(path) as archive:
            for table, expected in manifest.tables.items():
                with archive.open(f"{table}.copy") as stream:
                    if copy_in(connection, table, stream, advance) != expected:
                        raise BadInput(f"--path {path} is damaged: table {table} has another checksum; use another")
    except (*DAMAGED, psycopg2.DataError, psycopg2.IntegrityError, errors.QueryCanceled):
        raise BadInput(f"--path {path} is damaged: rows in it cannot be read; use another file") from None


def _compare(connection: Connection, manifest: Manifest, advance: Advance) -> None:
    """Raises StoreUnavailable where a restored table differs from the one that was backed up."""
    for table, expected in manifest.tables.items():
        restored = copy_out(connection, table, None, advance)
        if restored != expected:
            raise StoreUnavailable(
                f"after a test restore, table {table} has {counted(restored.rows, 'row')} with sha256 "
                f"{restored.sha256[:12]}… instead of {expected.rows:,} with {expected.sha256[:12]}…; "
                "the backup is not usable: try again"
            )


def _refuse_rows(engine: Engine, *, replace: bool) -> None:
    with engine.connect() as connection:
        _refuse_rows_in(connection, shown(engine), replace=replace)


def _refuse_rows_in(connection: Connection, where: str, *, replace: bool) -> None:
    rows = count_rows(connection, list_tables(connection, [VERSION_TABLE]))
    if rows and not replace:
        raise BadInput(f"{where} has {counted(rows, 'row')}, which a restore removes; add --replace to allow it")


def _carry_over(scratch: Connection, engine: Engine, advance: Advance, *, replace: bool) -> None:
    """Copy from the scratch database into the one behind `engine`, in one transaction."""
    tables = list_tables(scratch, [VERSION_TABLE])
    try:
        with engine.begin() as target:
            with closing(target.connection.cursor()) as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
                cursor.execute("LOCK TABLE " + ", ".join(f'"{table}"' for table in tables))
            _refuse_rows_in(target, shown(engine), replace=replace)
            empty(target, tables)
            for table in tables:
                with tempfile.TemporaryFile() as file:
                    wanted = _through(scratch, target, table, file, advance)
                if copy_out(target, table, None, advance) != wanted:
                    raise StoreUnavailable(
                        f"table {table} did not arrive as it was sent; nothing was changed: try again"
                    )
    except errors.LockNotAvailable:
        raise StoreUnavailable(
            f"another process uses the tables of {shown(engine)}, and nothing was changed; stop `hybrid-ml up`, the "
            "workers and the bot, and restore again"
        ) from None


def _through(source: Connection, target: Connection, table: str, file: IO[bytes], advance: Advance) -> TableDigest:
    """Copy one table through a file; returns the digest of what was sent."""
    digest = copy_out(source, table, file, lambda _: None)
    file.seek(0)
    copy_in(target, table, file, advance)
    return digest
