"""How often the model of an answer was right on recent rows, kept with it; low, it silences no alert any more."""

from alembic import op

revision = "0013"
down_revision = "0012"
TABLES = ("predictions", "answers_not_counted")

COMMENTS = """
COMMENT ON COLUMN predictions.recent_accuracy IS 'share of the recent_rows newest labelled rows unseen by the model '
    'that it had right before this answer; NULL: no such row';
COMMENT ON COLUMN predictions.degraded IS 'only in answers of before recent_accuracy was kept: too low, so no alert';
"""


def upgrade() -> None:
    """Add the columns, unknown for earlier answers; `degraded` stays as a record of those it silenced."""
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} ADD COLUMN recent_rows integer, ADD COLUMN recent_accuracy double precision")
        op.execute(f"ALTER TABLE {table} ALTER COLUMN degraded SET DEFAULT false")
    op.execute(COMMENTS)


def downgrade() -> None:
    """The figures are lost; alerts depend on them again."""
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} DROP COLUMN recent_rows, DROP COLUMN recent_accuracy")
        op.execute(f"ALTER TABLE {table} ALTER COLUMN degraded DROP DEFAULT")
