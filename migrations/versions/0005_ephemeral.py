"""What outlives nothing: tickets, who is here, and notes between devices. Unlogged: a crash of the database empties them.

They are rows and not payloads of NOTIFY, because any login may LISTEN, while row-level security guards rows.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = """
CREATE UNLOGGED TABLE tickets (
  hash bytea PRIMARY KEY,
  owner text NOT NULL,
  token_expires_at timestamptz,
  expires_at timestamptz NOT NULL
);
CREATE INDEX tickets_expires_at_idx ON tickets (expires_at);

CREATE UNLOGGED TABLE processes (
  id uuid PRIMARY KEY,
  seen_at timestamptz NOT NULL
);

CREATE UNLOGGED TABLE presences (
  owner text NOT NULL,
  connection uuid NOT NULL,
  process uuid NOT NULL,
  device_id text NOT NULL,
  device_name text,
  app text,
  state text,
  since timestamptz NOT NULL,
  seen_at timestamptz NOT NULL,
  PRIMARY KEY (owner, connection)
);
CREATE INDEX presences_process_idx ON presences (process);

CREATE UNLOGGED TABLE notes (
  owner text NOT NULL,
  id bigint GENERATED ALWAYS AS IDENTITY,
  kind text NOT NULL CHECK (kind IN ('broadcast', 'conflict')),
  connection uuid,
  device_id text,
  body text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (owner, id)
);
CREATE INDEX notes_created_at_idx ON notes (created_at);
"""

# A ticket is redeemed before anybody knows whose it is, so row-level security cannot name its owner: the hash does.
TICKETS = """
CREATE FUNCTION sync_redeem_v1(p_hash bytea, OUT owner text, OUT token_expires_at timestamptz)
LANGUAGE sql SECURITY DEFINER SET search_path = %s, pg_temp AS $$
  DELETE FROM tickets t WHERE t.hash = p_hash AND t.expires_at > clock_timestamp() RETURNING t.owner, t.token_expires_at
$$;
"""

# A process shows that it lives. False: it was not known to live, or was silent for too long; so what it says is here may
# have been taken for gone. What died without a word, and what is old, goes; whoever shared it hears of it.
# One process at a time clears up (the lock), so that no two wait for each other's rows.
PROCESSES = """
CREATE FUNCTION sync_alive_v1(p_process uuid, p_silent interval)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = %s, pg_temp AS $$
DECLARE
  v_before constant timestamptz := clock_timestamp() - p_silent;
  v_known boolean;
  v_owner text;
BEGIN
  UPDATE processes SET seen_at = clock_timestamp() WHERE id = p_process AND seen_at > v_before;
  v_known := FOUND;
  IF NOT v_known THEN
    INSERT INTO processes (id, seen_at) VALUES (p_process, clock_timestamp())
      ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at;
  END IF;
  IF pg_try_advisory_xact_lock(hashtextextended('sync_alive', 0)) THEN
    DELETE FROM tickets WHERE expires_at < clock_timestamp();
    DELETE FROM notes WHERE created_at < v_before;
    FOR v_owner IN
      WITH dead AS (DELETE FROM processes WHERE seen_at < v_before RETURNING id),
      gone AS (
        DELETE FROM presences AS p WHERE p.process IN (SELECT id FROM dead)
          OR NOT EXISTS (SELECT FROM processes AS r WHERE r.id = p.process)
        RETURNING p.owner
      ) SELECT DISTINCT gone.owner FROM gone
    LOOP
      PERFORM pg_notify('syncserver_notes', 'presence ' || v_owner);
    END LOOP;
  END IF;
  RETURN v_known;
END $$;
"""

GRANTS = """
GRANT SELECT, INSERT, DELETE ON tickets, notes TO syncserver_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON presences TO syncserver_app;
GRANT SELECT ON processes TO syncserver_app;
REVOKE EXECUTE ON FUNCTION sync_redeem_v1, sync_alive_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sync_redeem_v1, sync_alive_v1 TO syncserver_app;
"""


def upgrade() -> None:
    schema = op.get_bind().dialect.identifier_preparer.quote(
        op.get_bind().exec_driver_sql("SELECT current_schema()").scalar_one()
    )
    for sql in (TABLES, TICKETS, PROCESSES, GRANTS):
        op.execute(sql.replace("%s", schema))
    op.execute("SELECT sync_isolate_v1('tickets'), sync_isolate_v1('presences'), sync_isolate_v1('notes')")
    op.execute("SELECT sync_upkeep_v1('tickets'), sync_upkeep_v1('presences'), sync_upkeep_v1('notes')")


def downgrade() -> None:
    op.execute("DROP FUNCTION sync_alive_v1, sync_redeem_v1")
    op.execute("DROP TABLE notes, presences, processes, tickets")
