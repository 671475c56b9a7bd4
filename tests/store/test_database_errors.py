"""Translation of database errors by SQLSTATE: the message, and whether a task retries."""

from collections.abc import Callable

import psycopg2
import pytest
from psycopg2 import errors
from sqlalchemy import Engine, text

from hybrid_ml.config.settings import load_settings
from hybrid_ml.errors import StoreUnavailable, StoreUnreachable
from hybrid_ml.market.bars import clean_bars
from hybrid_ml.market.simulation import simulate_bars
from hybrid_ml.store.bars import store_bars
from hybrid_ml.store.database_errors import Place, translate, without_secrets
from hybrid_ml.store.engine import connect_only, open_engine, parse_address
from tests.databases import role
from tests.flows.running import AS_OF

PLACE = Place("h:5432/db", "me", "db", "NEON_CONN_STR")
ALL_RIGHTS = (
    "GRANT USAGE ON SCHEMA public TO {role}",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
)


@pytest.mark.parametrize(
    ("refusal", "message", "retried"),
    [
        ("FATAL: sorry, too many clients already", "has no connection left", True),
        ("FATAL: remaining connection slots are reserved for roles with SUPERUSER", "has no connection left", True),
        ("FATAL: Max client connections reached", "has no connection left", True),
        ("FATAL: no more connections allowed (max_client_conn)", "has no connection left", True),
        ("FATAL: the database system is starting up", "cannot reach", True),
        ("could not translate host name", "cannot reach", True),
        ("FATAL: ein Satz in einer anderen Sprache", "cannot reach", True),
        ('FATAL: password authentication failed for user "me"', "check user name and password", False),
        ('FATAL: no pg_hba.conf entry for host "10.0.0.1", SSL off', "add sslmode=require", False),
        ("FATAL: Tenant or user not found", "check user name and password", False),
        ("FATAL: unsupported startup parameter: search_path", "remove schema= or options=", False),
        ("server does not support SSL, but SSL was required", "correct NEON_CONN_STR", False),
    ],
)
def test_refused_connection_is_translated_by_its_message(refusal: str, message: str, retried: bool) -> None:
    """libpq gives no SQLSTATE for a refused connection."""
    error = translate(psycopg2.OperationalError(f"{refusal}\n"), PLACE, connecting=True)
    assert message in str(error)
    assert len(str(error).splitlines()) == 1
    assert isinstance(error, StoreUnreachable) is retried


def error_of(engine: Engine, state: str) -> Exception:
    """The exception of the engine for an error with this SQLSTATE, raised by a real server."""
    with pytest.raises(Exception) as raised, engine.begin() as connection:
        connection.execute(text(f"DO $$ BEGIN RAISE 'raised by the server' USING ERRCODE = '{state}'; END $$"))
    return raised.value


@pytest.mark.parametrize("state", ["53300", "53200", "57P01", "57P03", "08006", "57014", "40001", "40P01", "55P03"])
def test_temporary_errors_are_retryable(engine: Engine, state: str) -> None:
    error = error_of(engine, state)
    assert isinstance(error, StoreUnreachable)
    assert "raised by the server; " in str(error)


@pytest.mark.parametrize("state", ["42501", "25006", "3F000", "53100", "28000", "3D000", "42P01"])
def test_permanent_errors_are_not_retryable(engine: Engine, state: str) -> None:
    error = error_of(engine, state)
    assert type(error) is StoreUnavailable
    assert "raised by the server; " in str(error)


def test_invalid_values_are_not_translated(engine: Engine) -> None:
    assert isinstance(getattr(error_of(engine, "22003"), "orig", None), errors.NumericValueOutOfRange)
    assert isinstance(getattr(error_of(engine, "23505"), "orig", None), errors.UniqueViolation)


def test_errors_of_copy_are_translated(server: str, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    address = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with role(server, address, *ALL_RIGHTS, "REVOKE INSERT ON bars FROM {role}") as restricted:
        monkeypatch.setenv("NEON_CONN_STR", restricted)
        other = connect_only(load_settings())
        with pytest.raises(StoreUnavailable, match="permission denied for table bars; let the owner run: GRANT"):
            store_bars(other, "ABC", clean_bars(simulate_bars(AS_OF, bars=100)).bars)
        other.dispose()


@pytest.mark.parametrize(
    "secret", ["e", "p%40ss", "it's", "postgresql", pytest.param("a b", id="a blank"), "&x", "%2F%3F"]
)
def test_password_is_masked_by_position_not_by_value(secret: str) -> None:
    sentence = 'FATAL: password authentication failed for user "e", see postgresql'
    assert without_secrets(sentence) == sentence
    assert without_secrets(f"bad URI postgresql://me:{secret}@h/db here").split("@")[1] == "h/db here"
    assert f":{secret}@" not in without_secrets(f"bad URI postgresql://me:{secret}@h/db here")


@pytest.mark.parametrize("address", ["postgresql://me:half@other-half@h/db", "postgresql://me:p@s/s:x@h/db"])
def test_unencoded_password_is_not_shown_as_a_host(address: str) -> None:
    with pytest.raises(StoreUnavailable, match="percent-encode special characters") as refused:
        parse_address(address)
    assert "half" not in str(refused.value)
    assert "s:x" not in str(refused.value)


SETTINGS: dict[str, tuple[str, ...]] = {
    "serializable": ("ALTER ROLE {role} SET default_transaction_isolation = 'serializable'",),
    "DateStyle DMY": ("ALTER ROLE {role} SET DateStyle = 'SQL, DMY'",),
    "timeouts": tuple(
        f"ALTER ROLE {{role}} SET {name} = '60s'"
        for name in ("statement_timeout", "transaction_timeout", "idle_session_timeout", "lock_timeout")
    ),
}


@pytest.fixture
def as_a_role(server: str, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """A function that makes a role on the database of `engine`; see tests.databases.role."""
    address = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    return lambda *statements: role(server, address, *ALL_RIGHTS, *statements)


@pytest.mark.parametrize("name", SETTINGS)
def test_role_settings_do_not_change_stored_bars(
    as_a_role: Callable, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Bars are stored by COPY through a staging table, and read with the same times."""
    from hybrid_ml.store.bars import recent_bars

    bars = clean_bars(simulate_bars(AS_OF, bars=200)).bars
    with as_a_role(*SETTINGS[name]) as address:
        monkeypatch.setenv("NEON_CONN_STR", address)
        engine = open_engine(load_settings())
        assert store_bars(engine, "ABC", bars) == (200, 0)
        assert store_bars(engine, "ABC", bars) == (0, 0)
        with engine.connect() as connection:
            restored = recent_bars(connection, "ABC", AS_OF, 200)
        engine.dispose()
    assert list(restored["time"]) == list(bars["time"])


def test_idle_session_ended_by_the_server_is_replaced_silently(
    as_a_role: Callable, monkeypatch: pytest.MonkeyPatch, engine: Engine
) -> None:
    with as_a_role("ALTER ROLE {role} SET idle_session_timeout = '200ms'") as address:
        monkeypatch.setenv("NEON_CONN_STR", address)
        other = open_engine(load_settings())
        session_count = text("SELECT count(*) FROM pg_stat_activity WHERE usename = :role")
        with engine.connect() as connection:
            while connection.execute(session_count, {"role": other.url.username}).scalar_one():
                connection.rollback()
        with other.connect() as connection:
            assert connection.execute(text("SELECT 1")).scalar_one() == 1
        other.dispose()
