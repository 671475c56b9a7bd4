"""Feeds: what an exchange says of a bar beside its prices, its instruments, which minutes were asked, its limits."""

from alembic import op

revision = "0007"
down_revision = "0006"

FEEDS = """
ALTER TABLE bars
    ADD COLUMN quote_volume double precision,
    ADD COLUMN trades bigint,
    ADD COLUMN taker_buy_volume double precision;
COMMENT ON COLUMN bars.quote_volume IS 'volume in quote currency; NULL: the source does not state it';
COMMENT ON COLUMN bars.trades IS 'number of trades; NULL: the source does not state it';
COMMENT ON COLUMN bars.taker_buy_volume IS 'volume, in base units, of trades whose taker bought; NULL: not stated';

CREATE TABLE instruments (
    symbol      text PRIMARY KEY,
    feed        text NOT NULL,
    feed_symbol text NOT NULL,
    calendar    text NOT NULL,
    listed_at   timestamptz,
    delisted_at timestamptz,
    CHECK (delisted_at > listed_at)
);
COMMENT ON TABLE instruments IS 'Which feed the bars of a symbol are from, and the symbol''s name there';
COMMENT ON COLUMN instruments.calendar IS 'when its market is open; 24/7: always';
COMMENT ON COLUMN instruments.delisted_at IS 'close of its last bar, where the exchange does not trade it; else NULL';

CREATE TABLE coverage (
    symbol    text NOT NULL,
    from_time timestamptz NOT NULL,
    to_time   timestamptz NOT NULL,
    state     text NOT NULL CHECK (state IN ('have', 'no_trades', 'source_gap', 'unknown')),
    PRIMARY KEY (symbol, from_time),
    CHECK (from_time < to_time)
);
COMMENT ON TABLE coverage IS 'What a feed answered about the minutes that opened from from_time until before to_time; '
    'spans of a symbol do not overlap, and minutes in none of them were never asked';

CREATE TABLE exchange_budgets (
    feed          text PRIMARY KEY,
    minute        timestamptz NOT NULL,
    weight_used   integer NOT NULL CHECK (weight_used >= 0),
    blocked_until timestamptz
);
COMMENT ON TABLE exchange_budgets IS 'Request weight used in the current minute, shared by all processes; times are of '
    'the exchange''s clock';
"""


def upgrade() -> None:
    """Add the columns and make the tables."""
    op.execute(FEEDS)


def downgrade() -> None:
    """The bars stay; what else the feeds said is lost."""
    op.execute("DROP TABLE exchange_budgets, coverage, instruments")
    op.execute("ALTER TABLE bars DROP COLUMN quote_volume, DROP COLUMN trades, DROP COLUMN taker_buy_volume")
