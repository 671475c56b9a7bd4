"""Outcomes that say on which price they rest or why there is none; alerts as an outbox with a row a chat; the bot."""

from alembic import op

revision = "0003"
down_revision = "0002"

LEDGER = """
ALTER TABLE predictions
    ADD COLUMN silenced_by_penalty boolean NOT NULL DEFAULT false,
    ADD COLUMN close_then double precision,
    ADD COLUMN corrected_close double precision,
    ADD COLUMN counted text CHECK (counted IN ('stated', 'corrected')),
    ADD COLUMN void_reason text,
    ADD CONSTRAINT void_has_no_outcome CHECK (void_reason IS NULL OR outcome IS NULL);
UPDATE predictions SET counted = 'stated' WHERE outcome IS NOT NULL;
COMMENT ON COLUMN predictions.silenced_by_penalty IS 'refused by nothing but the raised confidence bound';
COMMENT ON COLUMN predictions.corrected_close IS 'close of the bar where it had been corrected by then';
COMMENT ON COLUMN predictions.counted IS 'which close the outcome rests on: the stated one, or the corrected one';
COMMENT ON COLUMN predictions.void_reason IS 'why there is no outcome; one that appears later is filled in';
DROP INDEX predictions_unresolved;
-- An outcome is written into every row: each index costs as much as all of the statement that finds it.
DROP INDEX predictions_of_model;
CREATE INDEX predictions_without_outcome ON predictions (symbol, bar_time) WHERE outcome IS NULL;

-- One answer a bar counts. Others about the same bar (it was corrected in between, or a later run with
-- looser gates alerted) are kept here.
CREATE TABLE answers_not_counted (
    LIKE predictions INCLUDING DEFAULTS EXCLUDING IDENTITY,
    reason       text NOT NULL,
    set_aside_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (symbol, bar_time, model_version, close, p_down, p_flat, p_up, signal)
);
ALTER TABLE answers_not_counted DROP COLUMN id;
"""

OUTBOX = """
ALTER TABLE alerts RENAME TO alerts_before;
ALTER TABLE alerts_before DROP CONSTRAINT alerts_pkey;

CREATE TABLE alerts (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind          text NOT NULL CHECK (kind IN ('signal', 'outcome', 'summary')),
    symbol        text NOT NULL DEFAULT '',
    bar_time      timestamptz NOT NULL,
    prediction_id bigint REFERENCES predictions (id),
    created_at    timestamptz NOT NULL DEFAULT now(),
    text          text NOT NULL,
    picture       bytea,
    send_after    timestamptz NOT NULL DEFAULT now(),
    send_until    timestamptz NOT NULL,
    UNIQUE (kind, symbol, bar_time),
    CHECK ((kind = 'summary') = (prediction_id IS NULL))
);
COMMENT ON TABLE alerts IS 'What is to be told, written in the transaction of what it tells of';
COMMENT ON COLUMN alerts.bar_time IS 'of a summary: the day it is about';
COMMENT ON COLUMN alerts.text IS 'HTML as Telegram takes it';
COMMENT ON COLUMN alerts.send_until IS 'by the database clock; later it is not worth sending';
ALTER TABLE alerts ALTER COLUMN picture SET STORAGE EXTERNAL;

CREATE TABLE deliveries (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert_id    bigint NOT NULL REFERENCES alerts (id),
    chat_id     text NOT NULL,
    reply_to    bigint,
    state       text NOT NULL DEFAULT 'pending' CHECK (state IN
        ('pending', 'sending', 'sent', 'unconfirmed', 'refused', 'expired', 'paused', 'logged')),
    attempts    integer NOT NULL DEFAULT 0,
    unsure      integer NOT NULL DEFAULT 0 CHECK (unsure BETWEEN 0 AND 2),
    next_try_at timestamptz NOT NULL DEFAULT now(),
    claim       uuid,
    lease_until timestamptz,
    message_id  bigint,
    detail      text NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL DEFAULT now(),
    settled_at  timestamptz,
    UNIQUE (alert_id, chat_id),
    CHECK ((state = 'sending') = (claim IS NOT NULL AND lease_until IS NOT NULL)),
    CHECK ((state IN ('pending', 'sending')) = (settled_at IS NULL))
);
COMMENT ON TABLE deliveries IS 'A row an alert and chat; the chat of an empty name is the log';
COMMENT ON COLUMN deliveries.unsure IS 'how often Telegram gave no answer: once is repeated, twice is not';
CREATE INDEX deliveries_open ON deliveries (chat_id, next_try_at) WHERE state IN ('pending', 'sending');

CREATE TABLE chats (
    chat_id      text PRIMARY KEY,
    retry_at     timestamptz,
    paused_until timestamptz
);
COMMENT ON COLUMN chats.retry_at IS 'Telegram asked for silence until then (429)';
COMMENT ON COLUMN chats.paused_until IS '/pause; infinity: until /resume';

CREATE TABLE bot_updates (
    update_id  bigint PRIMARY KEY,
    chat_id    text NOT NULL,
    command    text NOT NULL,
    handled_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE bot_updates IS 'Updates taken in hand, so that none is answered twice';

INSERT INTO alerts (kind, symbol, bar_time, prediction_id, created_at, text, send_after, send_until)
SELECT 'signal', before.symbol, before.bar_time, predictions.id, before.created_at,
    replace(replace(replace(message, '&', '&amp;'), '<', '&lt;'), '>', '&gt;'),
    before.created_at, before.bar_time + interval '11 minutes'
FROM alerts_before AS before
JOIN predictions USING (symbol, bar_time);
INSERT INTO deliveries (alert_id, chat_id, state, attempts, detail, created_at, settled_at)
SELECT alerts.id, '', CASE before.state WHEN 'pending' THEN 'expired' ELSE before.state END, 1,
    CASE before.state WHEN 'pending' THEN 'waiting when the outbox was made anew' ELSE before.detail END,
    before.created_at, coalesce(before.settled_at, now())
FROM alerts_before AS before
JOIN alerts ON alerts.symbol = before.symbol AND alerts.bar_time = before.bar_time;
DROP TABLE alerts_before;
"""

UNDO = """
CREATE TABLE alerts_before (
    symbol     text NOT NULL,
    bar_time   timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    message    text NOT NULL,
    state      text NOT NULL CHECK (state IN ('pending', 'sent', 'logged', 'refused')),
    settled_at timestamptz,
    detail     text NOT NULL DEFAULT ''
);
INSERT INTO alerts_before (symbol, bar_time, created_at, message, state, settled_at, detail)
SELECT symbol, bar_time, alerts.created_at,
    replace(replace(replace(regexp_replace(text, '<[^>]*>', '', 'g'), '&lt;', '<'), '&gt;', '>'), '&amp;', '&'),
    CASE WHEN bool_or(state IN ('sent', 'unconfirmed')) THEN 'sent' WHEN bool_or(state = 'logged') THEN 'logged'
        WHEN bool_or(state = 'refused') THEN 'refused' ELSE 'pending' END,
    max(settled_at), min(detail)
FROM alerts JOIN deliveries ON alert_id = alerts.id
WHERE kind = 'signal'
GROUP BY alerts.id;
DROP TABLE bot_updates, chats, deliveries, alerts;
ALTER TABLE alerts_before RENAME TO alerts;
ALTER TABLE alerts ADD CONSTRAINT alerts_pkey PRIMARY KEY (symbol, bar_time);
ALTER TABLE alerts ADD FOREIGN KEY (symbol, bar_time) REFERENCES predictions (symbol, bar_time);
DROP TABLE answers_not_counted;
DROP INDEX predictions_without_outcome;
UPDATE predictions SET resolved_at = NULL WHERE void_reason IS NOT NULL;
ALTER TABLE predictions
    DROP COLUMN silenced_by_penalty, DROP COLUMN close_then, DROP COLUMN corrected_close, DROP COLUMN counted,
    DROP COLUMN void_reason;
CREATE INDEX predictions_unresolved ON predictions (symbol, bar_time) WHERE resolved_at IS NULL;
CREATE INDEX predictions_of_model ON predictions (model_version);
"""


def upgrade() -> None:
    op.execute(LEDGER)
    op.execute(OUTBOX)


def downgrade() -> None:
    """Outcomes and their reasons stay as far as the old tables can hold them; who got which alert is lost."""
    op.execute(UNDO)
