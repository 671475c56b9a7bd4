"""Accounts and roles of the embedded PostgreSQL: one account connects, as a role that owns its databases only."""

import os
import tempfile
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg2
from psycopg2 import errors, sql

from hybrid_ml.errors import StoreUnavailable
from hybrid_ml.store.postgres_server import SUPERUSER, Cluster
from hybrid_ml.store.private_folders import owner_name

ROLE = "hybrid_ml"
"""The role of the program and of Prefect's server; the superuser only creates databases and extensions."""
SCRATCH = "hybrid_ml_scratch_"
NOTE = (
    "# Written by hybrid-ml at each start: the account that runs it may connect, over the socket alone, and no other.\n"
)
OWN_LINES = "# What follows here is yours, and kept.\n"
HAND_OVER = """
DO $$
DECLARE statement text;
BEGIN
    FOR statement IN
        SELECT format('ALTER %s %I.%I OWNER TO {role}', CASE c.relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW'
                      WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END, n.nspname, c.relname)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S') AND c.relowner <> '{role}'::regrole
          AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
          -- Sequences of a column follow their table, members of an extension stay its own.
          AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                          AND d.deptype IN ('a', 'i', 'e') AND d.refclassid IN ('pg_class'::regclass,
                                                                               'pg_extension'::regclass))
        UNION ALL
        SELECT format('ALTER TYPE %I.%I OWNER TO {role}', n.nspname, t.typname)
        FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
        WHERE t.typtype IN ('e', 'd') AND t.typowner <> '{role}'::regrole
          AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
          AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = t.oid AND d.deptype = 'e')
        UNION ALL
        SELECT format('ALTER ROUTINE %s OWNER TO {role}', p.oid::regprocedure)
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE p.proowner <> '{role}'::regrole AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
          AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
        UNION ALL
        SELECT format('ALTER SCHEMA %I OWNER TO {role}', n.nspname)
        FROM pg_namespace n
        WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
          AND pg_get_userbyid(n.nspowner) = '{superuser}'
    LOOP
        EXECUTE statement;
    END LOOP;
END $$
"""


def write_access_files(cluster: Cluster) -> bool:
    """Write who may connect; returns whether that has changed, as in folders of versions that admitted everybody."""
    account = owner_name(os.geteuid()).replace('"', '""')
    entries = {
        "pg_hba.conf": f"{NOTE}local all all peer map=owner\n",
        "pg_ident.conf": f'{NOTE}owner "{account}" {ROLE}\nowner "{account}" {SUPERUSER}\n',
    }
    changed = False
    for name, text in entries.items():
        before = _read(cluster.folder / name)
        wanted = text + OWN_LINES + before.partition(OWN_LINES)[2]
        if before != wanted:
            _write(cluster, name, wanted)
            changed = True
    return changed


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() and not path.is_symlink() else ""


def _write(cluster: Cluster, name: str, text: str) -> None:
    opened, beside = tempfile.mkstemp(dir=cluster.folder, prefix=f"{name}.")
    with open(opened, "w", encoding="utf-8") as file:  # noqa: PTH123  # a descriptor
        file.write(text)
        os.fchown(opened, cluster.account.uid, cluster.account.gid)
    Path(beside).replace(cluster.folder / name)


def prepare_database(cluster: Cluster, database: str, extensions: Sequence[str], *, reload: bool) -> None:
    """Create the role, the database owned by it, and its extensions, where they are missing.

    Objects that the superuser owns there, as in databases of versions without the role, are given to the role.
    `reload`: the access files of a running server have changed.
    """
    with closing(connect(cluster, "postgres")) as connection, connection.cursor() as cursor:
        if reload:
            cursor.execute("SELECT pg_reload_conf()")
        _make_role(cursor)
        cursor.execute("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s", (database,))
        row = cursor.fetchone()
        names = {"database": sql.Identifier(database), "role": sql.Identifier(ROLE)}
        if row is None:
            _ignore_faster(cursor, sql.SQL("CREATE DATABASE {database} OWNER {role}").format(**names))
        elif row[0] == SUPERUSER and database != SUPERUSER:  # database postgres keeps its owner
            with closing(connect(cluster, database)) as inside, inside.cursor() as its:
                its.execute(HAND_OVER.format(role=ROLE, superuser=SUPERUSER))
            cursor.execute(sql.SQL("ALTER DATABASE {database} OWNER TO {role}").format(**names))
    _make_extensions(cluster, database, extensions)


def _make_role(cursor: Any) -> None:
    cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (ROLE,))
    if cursor.fetchone() is None:
        _ignore_faster(cursor, f"CREATE ROLE {ROLE} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION")


def _make_extensions(cluster: Cluster, database: str, extensions: Sequence[str]) -> None:
    if not extensions:
        return
    with closing(connect(cluster, database)) as connection, connection.cursor() as cursor:
        for name in extensions:
            try:
                cursor.execute(sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(sql.Identifier(name)))
            except (errors.UndefinedFile, errors.FeatureNotSupported):
                raise StoreUnavailable(
                    f"the embedded PostgreSQL lacks the extension {name}, which Prefect's server needs; install "
                    "PostgreSQL's contrib package beside it, or unset HYBRID_ML_POSTGRES_BIN for the bundled one"
                ) from None
            except errors.UniqueViolation:
                pass  # another process was faster


def _ignore_faster(cursor: Any, statement: Any) -> None:
    """Run `statement`, which another process may just have run too."""
    with suppress(errors.DuplicateDatabase, errors.DuplicateObject, errors.UniqueViolation):
        cursor.execute(statement)


def make_scratch_database(cluster: Cluster) -> str:
    """The name of a new, empty database owned by the role."""
    name = f"{SCRATCH}{uuid4().hex[:12]}"
    with closing(connect(cluster, "postgres")) as connection, connection.cursor() as cursor:
        parts = {"name": sql.Identifier(name), "role": sql.Identifier(ROLE)}
        cursor.execute(sql.SQL("CREATE DATABASE {name} OWNER {role} TEMPLATE template0").format(**parts))
    return name


def drop_scratch_databases(cluster: Cluster, own: str = "") -> None:
    """Drop `own` and all scratch databases without connections."""
    with closing(connect(cluster, "postgres")) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (SCRATCH,))
        for (name,) in cursor.fetchall():
            with suppress(errors.ObjectInUse, errors.InvalidCatalogName):
                force = sql.SQL(" WITH (FORCE)" if name == own else "")
                cursor.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)) + force)


def connect(cluster: Cluster, database: str) -> Any:
    """A connection of the superuser, in autocommit mode."""
    connection = psycopg2.connect(cluster.address(database))
    connection.autocommit = True
    return connection
