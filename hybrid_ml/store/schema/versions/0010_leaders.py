"""Leaders of models: the symbols whose bars a base sees beside its own."""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the column; bases made before have no leaders."""
    op.execute("ALTER TABLE model_versions ADD COLUMN leaders text[]")
    op.execute(
        "COMMENT ON COLUMN model_versions.leaders IS "
        "'of a base: the symbols whose bars it sees beside its own, in the order of its features; NULL: none'"
    )


def downgrade() -> None:
    """Bases with leaders keep them in their bytes, but cannot be used by an older version."""
    op.execute("ALTER TABLE model_versions DROP COLUMN leaders")
