"""Fresh bars: replaced values of bars, when a gap is asked about once more, and sessions of markets."""

from alembic import op

revision = "0008"
down_revision = "0007"

FRESH_BARS = """
CREATE TABLE bar_revisions (
    symbol           text NOT NULL,
    time             timestamptz NOT NULL,
    open             double precision NOT NULL,
    high             double precision NOT NULL,
    low              double precision NOT NULL,
    close            double precision NOT NULL,
    volume           double precision NOT NULL,
    quote_volume     double precision,
    trades           bigint,
    taker_buy_volume double precision,
    replaced_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (symbol, time, replaced_at)
);
COMMENT ON TABLE bar_revisions IS 'Values that a bar had until replaced_at, when its source stated others';

ALTER TABLE coverage ADD COLUMN recheck_at timestamptz;
COMMENT ON COLUMN coverage.recheck_at IS 'when minutes without a bar are asked about once more; NULL: never again';

CREATE TABLE sessions (
    calendar  text NOT NULL,
    day       date NOT NULL,
    opens_at  timestamptz NOT NULL,
    closes_at timestamptz NOT NULL,
    origin    text NOT NULL CHECK (origin IN ('library', 'own')),
    PRIMARY KEY (calendar, day, opens_at),
    CHECK (opens_at < closes_at OR origin = 'own' AND opens_at = closes_at)
);
CREATE INDEX sessions_opened ON sessions (calendar, opens_at DESC);
COMMENT ON TABLE sessions IS 'When the markets of a calendar are open; calendar 24/7 has no rows';
COMMENT ON COLUMN sessions.day IS 'the date of the session at its exchange; a session may open in the evening before';
COMMENT ON COLUMN sessions.closes_at IS 'equal to opens_at: closed on this day, whatever the library says';
COMMENT ON COLUMN sessions.origin IS 'own: from a file of the user, which wins over the library for its days';

ALTER TABLE instruments ALTER COLUMN feed DROP NOT NULL, ALTER COLUMN feed_symbol DROP NOT NULL,
    ADD CONSTRAINT instruments_feed_check CHECK ((feed IS NULL) = (feed_symbol IS NULL));
COMMENT ON COLUMN instruments.feed IS 'NULL: its bars are from files or a program of the user';
"""


def upgrade() -> None:
    """Make the tables and the column."""
    op.execute(FRESH_BARS)


def downgrade() -> None:
    """The bars stay; what they were before, and the sessions, are lost."""
    op.execute("DROP TABLE bar_revisions, sessions")
    op.execute("DELETE FROM instruments WHERE feed IS NULL")
    op.execute("ALTER TABLE instruments DROP CONSTRAINT instruments_feed_check")
    op.execute("ALTER TABLE instruments ALTER COLUMN feed SET NOT NULL, ALTER COLUMN feed_symbol SET NOT NULL")
    op.execute("ALTER TABLE coverage DROP COLUMN recheck_at")
