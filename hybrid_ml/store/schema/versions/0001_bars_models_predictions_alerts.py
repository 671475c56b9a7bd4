"""Bars, model versions, predictions and alerts."""

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE bars (
    symbol text NOT NULL,
    time   timestamptz NOT NULL,
    open   double precision NOT NULL,
    high   double precision NOT NULL,
    low    double precision NOT NULL,
    close  double precision NOT NULL,
    volume double precision NOT NULL,
    PRIMARY KEY (symbol, time)
);
COMMENT ON TABLE bars IS 'One-minute bars as recorded; time is when the minute opens';

CREATE TABLE bars_set_aside (
    symbol     text NOT NULL,
    source     text NOT NULL,
    row_number bigint NOT NULL,
    reason     text NOT NULL,
    raw        text NOT NULL,
    loaded_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (symbol, source, row_number)
);
COMMENT ON TABLE bars_set_aside IS 'Rows of a file that could not be used, and why';

CREATE TABLE model_versions (
    version          text PRIMARY KEY,
    symbol           text NOT NULL,
    kind             text NOT NULL CHECK (kind IN ('base', 'scratch', 'adapter')),
    parent           text REFERENCES model_versions (version),
    created_at       timestamptz NOT NULL DEFAULT now(),
    as_of            timestamptz NOT NULL,
    trained_from     timestamptz NOT NULL,
    trained_until    timestamptz NOT NULL,
    data_until       timestamptz NOT NULL,
    rows             integer NOT NULL,
    row_limit        integer,
    week             integer,
    feature_names    text[],
    classes          text[],
    label_threshold  double precision,
    temperature      double precision,
    parameters       jsonb NOT NULL,
    metrics          jsonb NOT NULL,
    library_versions jsonb NOT NULL,
    sha256           text NOT NULL,
    length           bigint NOT NULL,
    bytes            bytea NOT NULL,
    file_sha256      text NOT NULL,
    file_length      bigint NOT NULL,
    status           text NOT NULL CHECK (status IN ('candidate', 'champion', 'retired', 'rejected', 'adopted')),
    reason           text NOT NULL DEFAULT '',
    CHECK ((kind = 'adapter') = (parent IS NOT NULL)),
    CHECK (status <> 'champion' OR kind <> 'adapter')
);
-- Model bytes are read whole and hardly compress: keep them out of line as they are.
ALTER TABLE model_versions ALTER COLUMN bytes SET STORAGE EXTERNAL;
CREATE UNIQUE INDEX one_champion_a_symbol ON model_versions (symbol) WHERE status = 'champion';
CREATE INDEX model_versions_of_symbol ON model_versions (symbol, kind, data_until);
CREATE INDEX model_versions_of_parent ON model_versions (parent, as_of);

CREATE TABLE predictions (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    symbol         text NOT NULL,
    bar_time       timestamptz NOT NULL,
    as_of          timestamptz NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    close          double precision NOT NULL,
    p_down         double precision NOT NULL,
    p_flat         double precision NOT NULL,
    p_up           double precision NOT NULL,
    threshold      double precision NOT NULL,
    direction      text NOT NULL CHECK (direction IN ('down', 'flat', 'up')),
    confidence     double precision NOT NULL,
    model_version  text NOT NULL,
    preset         text NOT NULL,
    gates          jsonb NOT NULL,
    signal         boolean NOT NULL,
    degraded       boolean NOT NULL,
    fell_back      boolean NOT NULL,
    outcome        text CHECK (outcome IN ('down', 'flat', 'up')),
    forward_return double precision,
    resolved_at    timestamptz,
    UNIQUE (symbol, bar_time)
);
CREATE INDEX predictions_unresolved ON predictions (symbol, bar_time) WHERE resolved_at IS NULL;

CREATE TABLE alerts (
    symbol     text NOT NULL,
    bar_time   timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    message    text NOT NULL,
    state      text NOT NULL CHECK (state IN ('pending', 'sent', 'logged', 'refused')),
    settled_at timestamptz,
    detail     text NOT NULL DEFAULT '',
    PRIMARY KEY (symbol, bar_time),
    FOREIGN KEY (symbol, bar_time) REFERENCES predictions (symbol, bar_time)
);
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    op.execute("DROP TABLE alerts, predictions, model_versions, bars_set_aside, bars")
