"""Renamed models: the history of a base says that its symbol got another name."""

from alembic import op

revision = "0009"
down_revision = "0008"

EVENTS = "'promoted', 'retired', 'rejected', 'rolled back', 'imported', 'pruned'"


def upgrade() -> None:
    """Allow one more event."""
    _allow(f"{EVENTS}, 'renamed'")


def downgrade() -> None:
    """The names stay; when they were given is lost."""
    op.execute("DELETE FROM model_events WHERE event = 'renamed'")
    _allow(EVENTS)


def _allow(events: str) -> None:
    op.execute("ALTER TABLE model_events DROP CONSTRAINT model_events_event_check")
    op.execute(f"ALTER TABLE model_events ADD CONSTRAINT model_events_event_check CHECK (event IN ({events}))")
