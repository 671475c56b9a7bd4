"""A rejected row is known by its content, not by its place in a file that is written every minute; and has its time."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Rows that are equal are kept once, the newest."""
    op.execute("ALTER TABLE bars_set_aside DROP CONSTRAINT bars_set_aside_pkey, ADD COLUMN time timestamptz")
    op.execute(
        "COMMENT ON COLUMN bars_set_aside.time IS 'of the bar, as far as known; a good bar of it removes the row'"
    )
    _keep_newest("a.symbol = b.symbol AND a.source = b.source AND a.raw = b.raw")
    # The hash, since the text itself may be too long for an index.
    op.execute("CREATE UNIQUE INDEX bars_set_aside_content ON bars_set_aside (symbol, source, md5(raw))")
    op.execute("CREATE INDEX bars_set_aside_time ON bars_set_aside (symbol, time)")


def downgrade() -> None:
    """Of the rows at one place of a file the newest stays."""
    op.execute("DROP INDEX bars_set_aside_content, bars_set_aside_time")
    _keep_newest("a.symbol = b.symbol AND a.source = b.source AND a.row_number = b.row_number")
    op.execute("ALTER TABLE bars_set_aside DROP COLUMN time, ADD PRIMARY KEY (symbol, source, row_number)")


def _keep_newest(same: str) -> None:
    op.execute(
        f"DELETE FROM bars_set_aside a USING bars_set_aside b WHERE {same} "
        "AND (a.loaded_at, a.ctid) < (b.loaded_at, b.ctid)"
    )
