"""The workspace of a session: nodes, their components, what relates them, and imports that are under way."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

SYNCED = {"nodes": "id", "node_components": "id", "session_relationships": "id"}

# A key is `<session id>:<own id>`, so that own ids need to be unique only within a session. What a row names in its own
# session is turned into such a key by the database, and a foreign key goes by that: so both are in the same session.
# Constraints may wait to the end of a transaction: a claim moves one table after the other.
TABLES = """
CREATE TABLE nodes (
  owner text NOT NULL,
  id text COLLATE "C" NOT NULL,
  session_id uuid NOT NULL,
  node_id text COLLATE "C" NOT NULL GENERATED ALWAYS AS (split_part(id, ':', 2)) STORED,
  number bigint NOT NULL GENERATED ALWAYS AS (substr(split_part(id, ':', 2), 2)::bigint) STORED,
  title text NOT NULL DEFAULT '' CHECK (char_length(title) <= 255),
  content text NOT NULL DEFAULT '' CHECK (char_length(content) <= 64000),
  metadata jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
  device_id text CHECK (char_length(device_id) <= 128),
  device_name text CHECK (char_length(device_name) <= 128),
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (owner, id),
  CONSTRAINT nodes_key CHECK (
    starts_with(id, session_id::text || ':N') AND id ~ ':N([0-9]{3}|[1-9][0-9]{3,8})$' AND id NOT LIKE '%:N000'),
  CONSTRAINT nodes_session_fkey FOREIGN KEY (owner, session_id) REFERENCES sessions (owner, id)
    ON DELETE CASCADE DEFERRABLE INITIALLY IMMEDIATE
) WITH (fillfactor = 70);
CREATE INDEX nodes_owner_updated_at_idx ON nodes (owner, updated_at);
CREATE INDEX nodes_owner_session_id_idx ON nodes (owner, session_id, number, id);

CREATE TABLE node_components (
  owner text NOT NULL,
  id text COLLATE "C" NOT NULL,
  session_id uuid NOT NULL,
  component_id text COLLATE "C" NOT NULL GENERATED ALWAYS AS (split_part(id, ':', 2)) STORED,
  node_id text COLLATE "C" NOT NULL,
  node text COLLATE "C" NOT NULL GENERATED ALWAYS AS (session_id::text || ':' || node_id) STORED,
  rank text COLLATE "C" NOT NULL CHECK (rank ~ '^[0-9A-Za-z]*[1-9A-Za-z]$' AND char_length(rank) <= 255),
  type text NOT NULL CHECK (type <> '' AND char_length(type) <= 64),
  config jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(config) = 'object'),
  device_id text CHECK (char_length(device_id) <= 128),
  device_name text CHECK (char_length(device_name) <= 128),
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (owner, id),
  CONSTRAINT node_components_key CHECK (
    starts_with(id, session_id::text || ':') AND split_part(id, ':', 2) ~ '^[A-Za-z0-9._~-]{1,64}$' AND split_part(id, ':', 3) = ''),
  CONSTRAINT node_components_node_fkey FOREIGN KEY (owner, node) REFERENCES nodes (owner, id)
    ON DELETE CASCADE DEFERRABLE INITIALLY IMMEDIATE
) WITH (fillfactor = 70);
CREATE INDEX node_components_owner_updated_at_idx ON node_components (owner, updated_at);
CREATE INDEX node_components_owner_node_idx ON node_components (owner, node, rank, id);

CREATE TABLE session_relationships (
  owner text NOT NULL,
  id text COLLATE "C" NOT NULL,
  session_id uuid NOT NULL,
  relationship_id text COLLATE "C" NOT NULL GENERATED ALWAYS AS (split_part(id, ':', 2)) STORED,
  from_node text COLLATE "C" NOT NULL,
  to_node text COLLATE "C" NOT NULL,
  from_key text COLLATE "C" NOT NULL GENERATED ALWAYS AS (session_id::text || ':' || from_node) STORED,
  to_key text COLLATE "C" NOT NULL GENERATED ALWAYS AS (session_id::text || ':' || to_node) STORED,
  type text NOT NULL CHECK (type <> '' AND char_length(type) <= 64),
  weight double precision NOT NULL DEFAULT 1 CHECK (weight > '-infinity' AND weight < 'infinity'),
  metadata jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
  device_id text CHECK (char_length(device_id) <= 128),
  device_name text CHECK (char_length(device_name) <= 128),
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (owner, id),
  CONSTRAINT session_relationships_key CHECK (
    starts_with(id, session_id::text || ':') AND split_part(id, ':', 2) ~ '^[A-Za-z0-9._~-]{1,64}$' AND split_part(id, ':', 3) = ''),
  CONSTRAINT session_relationships_from_fkey FOREIGN KEY (owner, from_key) REFERENCES nodes (owner, id)
    ON DELETE CASCADE DEFERRABLE INITIALLY IMMEDIATE,
  CONSTRAINT session_relationships_to_fkey FOREIGN KEY (owner, to_key) REFERENCES nodes (owner, id)
    ON DELETE CASCADE DEFERRABLE INITIALLY IMMEDIATE
) WITH (fillfactor = 70);
CREATE INDEX session_relationships_owner_updated_at_idx ON session_relationships (owner, updated_at);
CREATE INDEX session_relationships_owner_session_id_idx ON session_relationships (owner, session_id, id);
CREATE INDEX session_relationships_owner_from_idx ON session_relationships (owner, from_key, id);
CREATE INDEX session_relationships_owner_to_idx ON session_relationships (owner, to_key, id);

-- The greatest number that a node of the session ever had and has no more: numbers are never given twice.
CREATE TABLE node_numbers (
  owner text NOT NULL,
  session_id uuid NOT NULL,
  last bigint NOT NULL,
  PRIMARY KEY (owner, session_id),
  CONSTRAINT node_numbers_session_fkey FOREIGN KEY (owner, session_id) REFERENCES sessions (owner, id)
    ON DELETE CASCADE DEFERRABLE INITIALLY IMMEDIATE
);

-- Imports that run, or ran: not synced, and forgotten after a while.
CREATE TABLE imports (
  owner text NOT NULL,
  id uuid NOT NULL,
  session_id uuid NOT NULL,
  state text NOT NULL CHECK (state IN ('running', 'done', 'refused', 'failed', 'cancelled')),
  cancelling boolean NOT NULL DEFAULT false,
  report jsonb NOT NULL DEFAULT '{}',
  seen_at timestamptz NOT NULL DEFAULT now(),
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (owner, id),
  CONSTRAINT imports_session_fkey FOREIGN KEY (owner, session_id) REFERENCES sessions (owner, id)
    ON DELETE CASCADE DEFERRABLE INITIALLY IMMEDIATE
);
CREATE INDEX imports_created_at_idx ON imports (created_at);
CREATE UNIQUE INDEX imports_running_idx ON imports (owner, session_id) WHERE state = 'running';
"""

# After the nodes' own changes are in the log (triggers go by row first). A session that goes takes its numbers along.
NUMBERED = """
CREATE FUNCTION nodes_numbered_v1() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = %s, pg_temp AS $$
BEGIN
  INSERT INTO node_numbers AS n (owner, session_id, last)
    SELECT g.owner, g.session_id, max(g.number) FROM gone g JOIN sessions s ON s.owner = g.owner AND s.id = g.session_id
    GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (owner, session_id) DO UPDATE SET last = excluded.last WHERE n.last < excluded.last;
  RETURN NULL;
END $$;
REVOKE EXECUTE ON FUNCTION nodes_numbered_v1 FROM PUBLIC;
CREATE TRIGGER numbered AFTER DELETE ON nodes REFERENCING OLD TABLE AS gone
  FOR EACH STATEMENT EXECUTE FUNCTION nodes_numbered_v1();
"""

# As in 0006, but before the foreign keys are looked at (triggers go by name, and theirs begin with RI): of a session that
# changes hands by plain SQL, what was not moved goes, its nodes too.
WIPE = """
DROP TRIGGER sync_a_wipe_moved ON sessions;
CREATE TRIGGER "A_sync_wipe_moved" AFTER UPDATE OF owner ON sessions FOR EACH ROW
  WHEN (old.owner LIKE 'session\\:%' AND old.owner <> new.owner) EXECUTE FUNCTION sync_wipe_v1();
"""
UNWIPE = """
DROP TRIGGER "A_sync_wipe_moved" ON sessions;
CREATE TRIGGER sync_a_wipe_moved AFTER UPDATE OF owner ON sessions FOR EACH ROW
  WHEN (old.owner LIKE 'session\\:%' AND old.owner <> new.owner) EXECUTE FUNCTION sync_wipe_v1();
"""

# As sync_forget_v1, of one table more.
FORGET = """
CREATE FUNCTION sync_forget_v2(p_table text, p_before timestamptz, p_limit int)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = %s, pg_temp AS $$
DECLARE
  v_count bigint;
BEGIN
  IF p_table NOT IN ('mutations', 'conflicts', 'temporary_keys', 'imports') THEN
    RAISE EXCEPTION 'nothing of %% is ever forgotten', p_table;
  END IF;
  EXECUTE format(
    'DELETE FROM %%1$I WHERE ctid = ANY (ARRAY(SELECT ctid FROM %%1$I WHERE created_at < $1 ORDER BY created_at LIMIT $2))', p_table
  ) USING p_before, p_limit;
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_count;
END $$;
REVOKE EXECUTE ON FUNCTION sync_forget_v2 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sync_forget_v2 TO syncserver_app;
SELECT sync_upkeep_v1('imports');
"""


def upgrade() -> None:
    schema = op.get_bind().dialect.identifier_preparer.quote(
        op.get_bind().exec_driver_sql("SELECT current_schema()").scalar_one()
    )
    op.execute(TABLES.replace(":N", r"\:N"))  # not a parameter
    op.execute(NUMBERED.replace("search_path = %s", f"search_path = {schema}"))
    op.execute(WIPE)
    for table in (*SYNCED, "node_numbers", "imports"):
        op.execute(f"SELECT sync_isolate_v1('{table}')")
        op.execute(f"SELECT sync_guard_v1('{table}')")
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO syncserver_app")
    op.execute(FORGET.replace("%s", schema).replace("%%", "%"))
    for table, key in SYNCED.items():
        op.execute(f"SELECT sync_track_v3('{table}', '{table}', '{key}')")


def downgrade() -> None:
    for table in SYNCED:
        op.execute(f"SELECT sync_untrack_v3('{table}', '{table}')")
    op.execute(UNWIPE)
    op.execute("DROP TABLE imports, node_numbers, session_relationships, node_components, nodes")
    op.execute("DROP FUNCTION nodes_numbered_v1, sync_forget_v2")
