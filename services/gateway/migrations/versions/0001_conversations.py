"""Conversations, their messages and feedback, and the index that finds text in them."""

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE gateway.conversations (
    id uuid PRIMARY KEY,
    title text NOT NULL,
    settings jsonb NOT NULL,
    current_message_id uuid,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX conversations_by_update_time ON gateway.conversations (update_time, id);

CREATE TABLE gateway.messages (
    id uuid PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY,
    conversation_id uuid NOT NULL REFERENCES gateway.conversations ON DELETE CASCADE,
    parent_id uuid REFERENCES gateway.messages ON DELETE CASCADE,
    role text NOT NULL CHECK (role IN ('user', 'assistant')),
    content text NOT NULL,
    state text NOT NULL
        CHECK (state IN ('running', 'complete', 'stopped', 'interrupted', 'failed')),
    create_time timestamptz NOT NULL DEFAULT now(),
    model text NOT NULL DEFAULT '',
    finish_reason text CHECK (finish_reason IN ('stop', 'length', 'abort')),
    usage jsonb,
    failure jsonb,
    owner bigint,
    request_id text
);
COMMENT ON COLUMN gateway.messages.number IS 'Order of making.';
COMMENT ON COLUMN gateway.messages.owner IS 'Advisory lock of the gateway that makes the message.';
CREATE INDEX messages_by_parent ON gateway.messages (parent_id, number);
CREATE INDEX messages_by_conversation ON gateway.messages (conversation_id, number);
CREATE INDEX messages_running ON gateway.messages (conversation_id, owner) WHERE state = 'running';
CREATE UNIQUE INDEX messages_by_request ON gateway.messages (conversation_id, request_id)
    WHERE request_id IS NOT NULL;

CREATE TABLE gateway.feedback (
    message_id uuid PRIMARY KEY REFERENCES gateway.messages ON DELETE CASCADE,
    conversation_id uuid NOT NULL REFERENCES gateway.conversations ON DELETE CASCADE,
    rating text CHECK (rating IN ('up', 'down')),
    reasons text[] NOT NULL,
    comment text NOT NULL,
    edited_content text NOT NULL,
    update_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX feedback_by_update_time ON gateway.feedback (update_time, message_id);
CREATE INDEX feedback_by_conversation ON gateway.feedback (conversation_id);
"""

# Text is compared without case, and with Hangul syllables composed. PostgreSQL 17 brought a
# collation that knows every alphabet's case on any machine; before it, the database's own decides.
FOLD = """
DO $do$
DECLARE collation_clause text := '';
BEGIN
    IF EXISTS (SELECT FROM pg_collation WHERE collname = 'pg_c_utf8') THEN
        collation_clause := 'COLLATE "pg_c_utf8"';
    END IF;
    EXECUTE format(
        'CREATE FUNCTION gateway.fold(whole text) RETURNS text
             LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
             RETURN lower(normalize(whole, NFC) %s) COLLATE "C"',
        collation_clause
    );
END $do$;
"""

# The folded text is kept: to fold it anew for each comparison takes longer than all the rest.
#
# Pairs of neighbouring characters, rather than pg_trgm's triples: no extension is needed, and two
# Hangul syllables, the commonest Korean word, are enough to search by.
SEARCH = """
CREATE FUNCTION gateway.pairs(folded text) RETURNS text[]
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN (
        SELECT coalesce(array_agg(DISTINCT pair), '{}')
        FROM (
            SELECT character || lead(character) OVER (ORDER BY place) AS pair
            FROM unnest(string_to_array(folded, NULL)) WITH ORDINALITY AS c (character, place)
        ) AS all_pairs
        WHERE pair IS NOT NULL
    );
ALTER TABLE gateway.messages
    ADD COLUMN folded text NOT NULL GENERATED ALWAYS AS (gateway.fold(content)) STORED;
CREATE INDEX messages_by_text ON gateway.messages
    USING gin (gateway.pairs(folded)) WHERE state <> 'running';
"""


def upgrade() -> None:
    for statements in (TABLES, FOLD, SEARCH):
        # Without parameters the driver takes several statements at once, and `%` as it stands.
        op.get_bind().exec_driver_sql(statements, execution_options={"no_parameters": True})
