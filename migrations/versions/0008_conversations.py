"""Conversations and their messages."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

SYNCED = {"conversations": "id", "messages": "id"}

# titled_at and title_offset: when, and at which offset, the title was written; updated_at is past that once a message came.
# The constraint may wait to the end of a transaction: a claim moves one table after the other.
TABLES = """
CREATE TABLE conversations (
  owner text NOT NULL,
  id uuid NOT NULL,
  title text NOT NULL CHECK (title <> '' AND char_length(title) <= 255),
  created_at timestamptz NOT NULL DEFAULT now(),
  titled_at timestamptz NOT NULL,
  title_offset bigint,
  device_id text CHECK (char_length(device_id) <= 128),
  device_name text CHECK (char_length(device_name) <= 128),
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (owner, id)
) WITH (fillfactor = 70);
CREATE INDEX conversations_owner_updated_at_idx ON conversations (owner, updated_at);

CREATE TABLE messages (
  owner text NOT NULL,
  id uuid NOT NULL,
  conversation_id uuid NOT NULL,
  role text NOT NULL CHECK (role IN ('user', 'assistant', 'system')),
  content text NOT NULL CHECK (content <> '' AND char_length(content) <= 16000),
  created_at timestamptz NOT NULL DEFAULT now(),
  device_id text CHECK (char_length(device_id) <= 128),
  device_name text CHECK (char_length(device_name) <= 128),
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (owner, id),
  CONSTRAINT messages_conversation_fkey FOREIGN KEY (owner, conversation_id) REFERENCES conversations (owner, id)
    ON DELETE CASCADE DEFERRABLE INITIALLY IMMEDIATE
) WITH (fillfactor = 70);
CREATE INDEX messages_owner_updated_at_idx ON messages (owner, updated_at);
CREATE INDEX messages_owner_conversation_id_idx ON messages (owner, conversation_id, created_at, id);
"""

# Fires after sync_stamp (triggers go by name). Whoever raises a conversation leaves its title as it was, and known to
# whom it was known; whoever writes the title does not make the conversation older than its messages.
TITLED = """
CREATE FUNCTION conversations_titled_v1() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF tg_op = 'INSERT' THEN
    new.titled_at := coalesce(new.titled_at, new.updated_at);
    RETURN new;
  END IF;
  new.updated_at := greatest(new.updated_at, old.updated_at);
  IF new.title <> old.title AND new.titled_at = old.titled_at THEN
    new.titled_at := new.updated_at;
  END IF;
  IF new.owner <> old.owner OR new.title <> old.title OR new.titled_at <> old.titled_at THEN
    new.title_offset := NULL;
  ELSIF old.title_offset IS NULL AND new.updated_at > old.updated_at THEN
    new.title_offset := (
      SELECT c."offset" FROM changes c WHERE c.owner = old.owner AND c.resource = 'conversations' AND c.key = old.id::text);
  END IF;
  RETURN new;
END $$;
CREATE TRIGGER titled BEFORE INSERT OR UPDATE ON conversations FOR EACH ROW EXECUTE FUNCTION conversations_titled_v1();
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(TITLED)
    for table, key in SYNCED.items():
        op.execute(f"SELECT sync_isolate_v1('{table}')")
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO syncserver_app")
        op.execute(f"SELECT sync_track_v3('{table}', '{table}', '{key}')")


def downgrade() -> None:
    for table in SYNCED:
        op.execute(f"SELECT sync_untrack_v3('{table}', '{table}')")
    op.execute("DROP TABLE messages, conversations")
    op.execute("DROP FUNCTION conversations_titled_v1")
