"""Parameters of a connection string: libpq's own, those of other drivers, and the schema.

Hosting services and ORMs print connection strings for their own drivers. Their parameters for pools
and prepared statements have no effect here and are left out; `schema=NAME` is used, since its
author expects the tables there; unknown ones, and those about encryption, are refused with the
replacement, because ignoring them could make a connection less secure than intended.
"""

import re

from psycopg2 import ProgrammingError
from psycopg2.extensions import parse_dsn
from sqlalchemy.engine import URL

from hybrid_ml.errors import StoreUnavailable

HARMLESS = frozenset(
    {
        # Prisma, also with Supabase and Vercel in front
        *("pgbouncer", "connection_limit", "pool_timeout", "socket_timeout", "statement_cache_size", "workaround"),
        *("supa", "pool_mode"),
        # asyncpg, Npgsql, JDBC, node-postgres, lib/pq and pgx: pools and prepared statements
        *("prepared_statement_cache_size", "prepared_statements", "preparethreshold", "binary_parameters"),
        *("pool_size", "max_pool_size", "pool_max_conns", "pool_min_conns", "pool_recycle", "pool_pre_ping"),
        *("default_query_exec_mode", "max_overflow", "pooling", "uselibpqcompat"),
    }
)
"""Parameters of other drivers that have no effect in this program, in lower case."""
SCHEMA = ("schema", "currentSchema")
INSTEAD = {
    "ssl": "sslmode=require",
    "sslaccept": "sslmode=require, or sslmode=verify-full with sslrootcert=FILE",
    "sslidentity": "sslcert=FILE and sslkey=FILE",
    "search_path": "schema=NAME",
    "statement_timeout": "options=-cstatement_timeout=MILLISECONDS",
}
"""The replacements for parameters of other drivers that do have an effect."""


def split_parameters(url: URL, source: str) -> tuple[URL, list[str], str]:
    """`url` with libpq's parameters alone, the names that were left out, and the schema it names (or "").

    `source`: the variable or block that states it. Raises StoreUnavailable naming a parameter that cannot be used.
    """
    schemas = [text for name in SCHEMA for text in _texts(url.query.get(name, ()))]
    if len(schemas) > 1 or any("," in schema or not schema.strip() for schema in schemas):
        raise StoreUnavailable(f"{source} must name one schema, like schema=public")
    schema = schemas[0].strip() if schemas else ""
    ignored = [name for name in url.query if name.lower() in HARMLESS]
    for name in url.query:
        if name not in SCHEMA and name not in ignored:
            _check_known(name, source)
    url = url.difference_update_query([*ignored, *SCHEMA])
    if schema and schema != "public":
        options = " ".join([*_texts(url.query.get("options", "")), f"-csearch_path={_option(schema)}"])
        url = url.update_query_dict({"options": options.strip()})
    return url, ignored, schema


def _check_known(name: str, source: str) -> None:
    """Check with libpq itself, which parameters it supports."""
    known = re.fullmatch(r"[a-z_]+", name) is not None
    if known:
        try:
            parse_dsn(f"{name}=1")
        except ProgrammingError:
            known = False
    if not known:
        instead = INSTEAD.get(name.lower())
        remedy = f"write {instead} instead" if instead else "remove it"
        raise StoreUnavailable(f"{source} has parameter {name}, which PostgreSQL's client does not know; {remedy}")


def _texts(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _option(schema: str) -> str:
    """A schema in the form of libpq's `options`: an SQL identifier, its blanks and backslashes escaped."""
    identifier = '"' + schema.replace('"', '""') + '"'
    return re.sub(r"([\\\s])", r"\\\1", identifier)
