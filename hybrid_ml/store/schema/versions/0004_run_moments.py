"""The moment each run judges, so that a retry judges the same one."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the table."""
    op.execute(
        "CREATE TABLE run_moments ("
        "run_id text PRIMARY KEY, as_of timestamptz NOT NULL, created_at timestamptz NOT NULL DEFAULT now())"
    )


def downgrade() -> None:
    """Drop it; a retry then judges the moment at which it begins."""
    op.execute("DROP TABLE run_moments")
