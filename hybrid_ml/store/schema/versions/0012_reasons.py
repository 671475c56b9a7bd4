"""What moved an answer, kept with it."""

from alembic import op

revision = "0012"
down_revision = "0011"

REASONS = """
ALTER TABLE predictions ADD COLUMN reasons jsonb;
ALTER TABLE answers_not_counted ADD COLUMN reasons jsonb;
COMMENT ON COLUMN predictions.reasons IS 'groups of features that moved the answer most, the strongest first, each '
    'with its contribution in nats and in words; NULL: not known';
"""


def upgrade() -> None:
    """Add the column; what moved earlier answers stays unknown."""
    op.execute(REASONS)


def downgrade() -> None:
    """What moved the answers is lost."""
    op.execute("ALTER TABLE predictions DROP COLUMN reasons")
    op.execute("ALTER TABLE answers_not_counted DROP COLUMN reasons")
