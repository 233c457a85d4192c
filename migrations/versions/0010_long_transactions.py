"""A transaction that writes many rows of one owner takes its numbers from memory, and raises the channel's head once.

Before, each row raised it anew. PostgreSQL keeps every version of a row that a transaction makes until that ends, and
finds the newest by way of all others: 10,000 rows took 3 s, and 100,000 would have taken minutes.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# What a transaction knows of its numbers: its own id, and for each of at most two owners (a claim takes turns between two) the
# last offset taken and the head that the channel says. A setting that is local to the transaction goes back with a savepoint,
# as the rows do. Of an owner that is in it, the channel's row is locked; once it is not, its head is true.
TAKE = """
CREATE FUNCTION sync_take_v1(p_owner text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  v_transaction constant text := pg_current_xact_id()::text;
  v_run text[] := nullif(current_setting('syncserver.run', true), '')::text[];
  v_head bigint;
BEGIN
  IF v_run[1] IS DISTINCT FROM v_transaction THEN
    v_run := NULL;
  END IF;
  IF v_run[2] = p_owner THEN
    v_run[3] := v_run[3]::bigint + 1;
  ELSIF v_run[5] = p_owner THEN
    v_run := ARRAY[v_run[1], v_run[5], (v_run[6]::bigint + 1)::text, v_run[7], v_run[2], v_run[3], v_run[4]];
  ELSE
    PERFORM set_config('syncserver.run', ARRAY[v_transaction, p_owner, NULL, NULL, v_run[2], v_run[3], v_run[4]]::text, true);
    IF v_run[6]::bigint > v_run[7]::bigint THEN
      PERFORM sync_settle_v1(v_run[5], v_run[6]::bigint);
    END IF;
    INSERT INTO channels AS c (owner, head) VALUES (p_owner, 1)
      ON CONFLICT (owner) DO UPDATE SET head = c.head + 1
      RETURNING head INTO v_head;
    PERFORM pg_notify('syncserver', p_owner);
    v_run := current_setting('syncserver.run')::text[];
    IF v_run[2] = p_owner THEN  -- else constraints are looked at after each statement: it was settled just now
      v_run[3] := v_head;
      v_run[4] := v_head;
      PERFORM set_config('syncserver.run', v_run::text, true);
    END IF;
    RETURN v_head;
  END IF;
  PERFORM set_config('syncserver.run', v_run::text, true);
  RETURN v_run[3]::bigint;
END $$;

CREATE FUNCTION sync_settle_v1(p_owner text, p_head bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_owners constant text := current_setting('syncserver.owners', true);
BEGIN
  PERFORM set_config('syncserver.owners', ARRAY[p_owner]::text, true);  -- whoever the transaction has named meanwhile
  UPDATE channels SET head = greatest(head, p_head) WHERE owner = p_owner;
  PERFORM set_config('syncserver.owners', coalesce(v_owners, ''), true);
END $$;
"""

# At the end of a transaction, or whenever its constraints are looked at: what comes after that begins anew.
SETTLED = """
CREATE FUNCTION sync_settled_v1() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = %s, pg_temp AS $$
DECLARE
  v_run text[] := nullif(current_setting('syncserver.run', true), '')::text[];
  v_place int;
  v_head bigint;
BEGIN
  IF v_run[1] IS DISTINCT FROM pg_current_xact_id()::text THEN
    RETURN NULL;
  END IF;
  v_place := CASE new.owner WHEN v_run[2] THEN 2 WHEN v_run[5] THEN 5 END;
  IF v_place IS NULL THEN
    RETURN NULL;
  END IF;
  IF v_run[v_place + 1]::bigint > v_run[v_place + 2]::bigint THEN
    v_head := v_run[v_place + 1];
  END IF;
  v_run[v_place] := NULL;
  v_run[v_place + 1] := NULL;
  v_run[v_place + 2] := NULL;
  PERFORM set_config('syncserver.run', v_run::text, true);
  IF v_head IS NOT NULL THEN
    PERFORM sync_settle_v1(new.owner, v_head);
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER sync_settled AFTER INSERT OR UPDATE OF head ON channels DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION sync_settled_v1();
REVOKE EXECUTE ON FUNCTION sync_take_v1, sync_settle_v1, sync_settled_v1 FROM PUBLIC;
"""

# In place of the version before, under its name: two ways of counting must not meet in one transaction.
RECORD = """
CREATE OR REPLACE FUNCTION sync_record_v3(
  p_owner text, p_resource text, p_key text, p_op text, p_updated_at timestamptz, p_device_id text
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_removed_at constant timestamptz := CASE p_op WHEN 'remove' THEN clock_timestamp() END;
BEGIN
  IF p_op = 'remove' AND p_owner LIKE 'session\\:%' AND NOT EXISTS (SELECT FROM sessions WHERE owner = p_owner) THEN
    RETURN;
  END IF;
  INSERT INTO changes (owner, resource, key, "offset", op, updated_at, device_id, removed_at)
    VALUES (p_owner, p_resource, p_key, sync_take_v1(p_owner), p_op, p_updated_at, p_device_id, v_removed_at)
    ON CONFLICT (owner, resource, key) DO UPDATE SET
      "offset" = excluded."offset", op = excluded.op, updated_at = excluded.updated_at,
      device_id = excluded.device_id, removed_at = excluded.removed_at;
END $$;
"""
BEFORE = """
CREATE OR REPLACE FUNCTION sync_record_v3(
  p_owner text, p_resource text, p_key text, p_op text, p_updated_at timestamptz, p_device_id text
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_offset bigint;
  v_removed_at constant timestamptz := CASE p_op WHEN 'remove' THEN clock_timestamp() END;
BEGIN
  IF p_op = 'remove' AND p_owner LIKE 'session\\:%' AND NOT EXISTS (SELECT FROM sessions WHERE owner = p_owner) THEN
    RETURN;
  END IF;
  INSERT INTO channels AS c (owner, head) VALUES (p_owner, 1)
    ON CONFLICT (owner) DO UPDATE SET head = c.head + 1
    RETURNING head INTO v_offset;
  INSERT INTO changes (owner, resource, key, "offset", op, updated_at, device_id, removed_at)
    VALUES (p_owner, p_resource, p_key, v_offset, p_op, p_updated_at, p_device_id, v_removed_at)
    ON CONFLICT (owner, resource, key) DO UPDATE SET
      "offset" = excluded."offset", op = excluded.op, updated_at = excluded.updated_at,
      device_id = excluded.device_id, removed_at = excluded.removed_at;
  PERFORM pg_notify('syncserver', p_owner);
END $$;
"""

# What the planner believes of an owner decides by which index a key is looked up: of one that it believes to have a row or two, it
# takes whichever index is smaller, and reads all rows of the owner for each key. So it is told that an owner has about a
# thousand rows, and tables are not looked at while they are nearly empty: in the middle of a long transaction, all that was
# written is not there yet, and what the planner hears then is that the table is empty (decision 7).
PLAN = """
ALTER TABLE {table} ALTER COLUMN owner SET (n_distinct = -0.001);
ALTER TABLE {table} SET (
  autovacuum_analyze_threshold = 5000, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_insert_threshold = 5000);
"""
UNPLAN = """
ALTER TABLE {table} ALTER COLUMN owner RESET (n_distinct);
ALTER TABLE {table} RESET (autovacuum_analyze_threshold, autovacuum_vacuum_threshold, autovacuum_vacuum_insert_threshold);
"""
PLANNED = (
    "changes",
    "mutations",
    "reading_progress",
    "reading_sessions",
    "session_events",
    "readings",
    "conversations",
    "messages",
    "nodes",
    "node_components",
    "session_relationships",
)


def upgrade() -> None:
    schema = op.get_bind().dialect.identifier_preparer.quote(
        op.get_bind().exec_driver_sql("SELECT current_schema()").scalar_one()
    )
    op.execute(TAKE)
    op.execute(SETTLED.replace("search_path = %s", f"search_path = {schema}"))
    op.execute(RECORD)
    for table in PLANNED:
        op.execute(PLAN.format(table=table))


def downgrade() -> None:
    for table in PLANNED:
        op.execute(UNPLAN.format(table=table))
    op.execute(BEFORE)
    op.execute("DROP TRIGGER sync_settled ON channels")
    op.execute("DROP FUNCTION sync_settled_v1, sync_settle_v1, sync_take_v1")
