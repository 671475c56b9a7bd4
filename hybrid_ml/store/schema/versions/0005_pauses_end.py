"""A pause of a chat always ends: nobody who has left can silence it for ever."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Pauses until /resume end a day from now."""
    op.execute("UPDATE chats SET paused_until = now() + interval '24 hours' WHERE paused_until = 'infinity'")
    op.execute("ALTER TABLE chats ADD CONSTRAINT chats_pause_ends CHECK (paused_until < 'infinity')")
    op.execute("COMMENT ON COLUMN chats.paused_until IS 'end of the last /pause'")


def downgrade() -> None:
    """Pauses keep their ends."""
    op.execute("ALTER TABLE chats DROP CONSTRAINT chats_pause_ends")
