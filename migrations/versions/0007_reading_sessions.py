"""Reading sessions, their events, the readings that they become, and the times of reading that statistics are made of."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

SYNCED = {"reading_sessions": "id", "session_events": "id", "readings": "session_id"}

TABLES = """
CREATE TABLE reading_sessions (
  owner text NOT NULL,
  id uuid NOT NULL,
  publication_id text NOT NULL CHECK (publication_id <> '' AND char_length(publication_id) <= 512),
  title text CHECK (char_length(title) <= 1024),
  status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'paused', 'completed', 'abandoned')),
  started_at timestamptz NOT NULL,
  last_activity timestamptz NOT NULL,
  completed_at timestamptz,
  start_locator jsonb,
  start_percentage double precision CHECK (start_percentage BETWEEN 0 AND 1),
  locator jsonb,
  percentage double precision CHECK (percentage BETWEEN 0 AND 1),
  active_seconds int NOT NULL DEFAULT 0 CHECK (active_seconds >= 0),
  state jsonb,
  resumed_from uuid,
  resumed_as uuid,
  device_id text CHECK (char_length(device_id) <= 128),
  device_name text CHECK (char_length(device_name) <= 128),
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (owner, id),
  CHECK ((status = 'completed') = (completed_at IS NOT NULL)),
  CHECK (last_activity >= started_at),
  CHECK (active_seconds <= extract(epoch FROM last_activity - started_at))
) WITH (fillfactor = 70);
CREATE INDEX reading_sessions_owner_updated_at_idx ON reading_sessions (owner, updated_at);
CREATE INDEX reading_sessions_owner_publication_id_idx ON reading_sessions (owner, publication_id, updated_at);

CREATE TABLE session_events (
  owner text NOT NULL,
  id uuid NOT NULL,
  session_id uuid NOT NULL,
  type text NOT NULL CHECK (type IN
    ('created', 'saved', 'paused', 'resumed', 'moved', 'conflict', 'completed', 'abandoned', 'deleted')),
  at timestamptz NOT NULL,
  data jsonb NOT NULL DEFAULT '{}',
  device_id text CHECK (char_length(device_id) <= 128),
  device_name text CHECK (char_length(device_name) <= 128),
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (owner, id)
);
CREATE INDEX session_events_owner_updated_at_idx ON session_events (owner, updated_at);
CREATE INDEX session_events_owner_session_id_idx ON session_events (owner, session_id, updated_at);
CREATE INDEX session_events_owner_type_idx ON session_events (owner, type, updated_at);

-- The session's id is the key, so that one session leaves one reading however often it is completed.
CREATE TABLE readings (
  owner text NOT NULL,
  session_id uuid NOT NULL,
  publication_id text NOT NULL CHECK (publication_id <> '' AND char_length(publication_id) <= 512),
  ordinal int NOT NULL CHECK (ordinal > 0),
  title text CHECK (char_length(title) <= 1024),
  started_at timestamptz NOT NULL,
  finished_at timestamptz NOT NULL,
  active_seconds int NOT NULL CHECK (active_seconds >= 0),
  session jsonb NOT NULL,
  device_id text CHECK (char_length(device_id) <= 128),
  device_name text CHECK (char_length(device_name) <= 128),
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (owner, session_id)
);
CREATE INDEX readings_owner_updated_at_idx ON readings (owner, updated_at);
CREATE INDEX readings_owner_publication_id_idx ON readings (owner, publication_id, updated_at);

-- When was read, which pages and which part, by quarters of an hour. Not synced: what is asked of it is a sum.
CREATE TABLE reading_times (
  owner text NOT NULL,
  session_id uuid NOT NULL,
  quarter timestamptz NOT NULL,
  publication_id text NOT NULL,
  active tstzmultirange NOT NULL,
  pages int4multirange NOT NULL,
  span nummultirange NOT NULL,
  PRIMARY KEY (owner, session_id, quarter)
) WITH (fillfactor = 70);
CREATE INDEX reading_times_owner_quarter_idx ON reading_times (owner, quarter);
CREATE INDEX reading_times_owner_publication_id_idx ON reading_times (owner, publication_id, quarter);
"""

# An owner's readings of one publication are numbered as they come, by whoever writes, and those that a claim brings too.
ORDINAL = """
CREATE FUNCTION readings_ordinal_v1() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  new.ordinal := 1 + coalesce(
    (SELECT max(ordinal) FROM readings WHERE owner = new.owner AND publication_id = new.publication_id), 0);
  RETURN new;
END $$;
CREATE TRIGGER readings_numbered BEFORE INSERT ON readings FOR EACH ROW EXECUTE FUNCTION readings_ordinal_v1();
CREATE TRIGGER readings_renumbered BEFORE UPDATE OF owner ON readings FOR EACH ROW WHEN (old.owner <> new.owner)
  EXECUTE FUNCTION readings_ordinal_v1();
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(ORDINAL)
    for table in (*SYNCED, "reading_times"):
        op.execute(f"SELECT sync_isolate_v1('{table}')")
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO syncserver_app")
    op.execute("SELECT sync_guard_v1('reading_times')")
    for table, key in SYNCED.items():
        op.execute(f"SELECT sync_track_v3('{table}', '{table}', '{key}')")


def downgrade() -> None:
    for table in SYNCED:
        op.execute(f"SELECT sync_untrack_v3('{table}', '{table}')")
    op.execute("DROP TABLE reading_times, readings, session_events, reading_sessions")
    op.execute("DROP FUNCTION readings_ordinal_v1")
