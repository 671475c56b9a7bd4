"""What happened to each model version, and room for versions whose bytes are pruned."""

from alembic import op

revision = "0002"
down_revision = "0001"

CHANGES = """
ALTER TABLE model_versions ALTER COLUMN bytes DROP NOT NULL;
COMMENT ON COLUMN model_versions.bytes IS 'NULL: pruned; length and sha256 still say what they were';
ALTER TABLE model_versions ADD CONSTRAINT champion_keeps_its_bytes CHECK (status <> 'champion' OR bytes IS NOT NULL);

CREATE TABLE model_events (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    symbol   text NOT NULL,
    at       timestamptz NOT NULL DEFAULT now(),
    event    text NOT NULL
        CHECK (event IN ('promoted', 'retired', 'rejected', 'rolled back', 'imported', 'pruned')),
    version  text NOT NULL,
    previous text,
    reason   text NOT NULL DEFAULT ''
);
COMMENT ON TABLE model_events IS 'Written in the transaction of each change; previous: the champion before';
CREATE INDEX model_events_of_version ON model_events (version, at);

-- Pruning asks once a run which old rows still hold bytes, out of a table that grows by 144 rows a
-- symbol and day, and whether any prediction refers to them, of which there are as many: without
-- these two it would read both tables whole.
CREATE INDEX model_versions_with_bytes ON model_versions (symbol, created_at) WHERE bytes IS NOT NULL;
CREATE INDEX predictions_of_model ON predictions (model_version);
"""

UNDO = """
DROP INDEX predictions_of_model, model_versions_with_bytes;
DROP TABLE model_events;
ALTER TABLE model_versions DROP CONSTRAINT champion_keeps_its_bytes;
ALTER TABLE model_versions ALTER COLUMN bytes SET NOT NULL;
"""


def upgrade() -> None:
    op.execute(CHANGES)


def downgrade() -> None:
    """Fails, changing nothing, where bytes have been pruned: they cannot be brought back."""
    op.execute(UNDO)
