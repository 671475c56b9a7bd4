"""The first price at which an answer could have been followed, and the return from there."""

from alembic import op

revision = "0011"
down_revision = "0010"

COLUMNS = """
ALTER TABLE {table}
    ADD COLUMN entry_time timestamptz,
    ADD COLUMN entry_price double precision,
    ADD COLUMN entry_return double precision,
    ADD COLUMN tradable boolean;
"""

REST = """
COMMENT ON COLUMN predictions.entry_time IS 'the first minute after the bar, until the horizon ends, that was traded';
COMMENT ON COLUMN predictions.entry_price IS 'the open of that minute';
COMMENT ON COLUMN predictions.entry_return IS 'log return from entry_price to close_then, whatever was answered';
COMMENT ON COLUMN predictions.tradable IS 'false: no minute was traded before the horizon ended; NULL: not known';
-- Outcomes of before this migration: the next resolving fills them in, where their bars are still there. New outcomes
-- are never in it, so that it costs them nothing.
CREATE INDEX predictions_without_entry ON predictions (symbol, bar_time) WHERE outcome IS NOT NULL AND tradable IS NULL;
"""

UNDO = """
DROP INDEX predictions_without_entry;
ALTER TABLE predictions
    DROP COLUMN entry_time, DROP COLUMN entry_price, DROP COLUMN entry_return, DROP COLUMN tradable;
ALTER TABLE answers_not_counted
    DROP COLUMN entry_time, DROP COLUMN entry_price, DROP COLUMN entry_return, DROP COLUMN tradable;
"""


def upgrade() -> None:
    """Add the columns, empty; see `fill_entries.sql`."""
    for table in ("predictions", "answers_not_counted"):
        op.execute(COLUMNS.format(table=table))
    op.execute(REST)


def downgrade() -> None:
    """Entries are lost; they can be computed again from the bars."""
    op.execute(UNDO)
