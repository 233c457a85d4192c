"""The change index: channels, changes, the epoch, and the functions that put a table under it.

SQL functions are versioned by name: a later migration adds `sync_track_v2` and moves tables over; it never edits v1.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ROLE = """
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'syncserver_app') THEN
    CREATE ROLE syncserver_app NOLOGIN;
  END IF;
END $$
"""

TABLES = """
CREATE TABLE channels (
  owner text PRIMARY KEY CHECK (owner <> '' AND char_length(owner) <= 255),
  head bigint NOT NULL DEFAULT 0,
  floor bigint NOT NULL DEFAULT 0,
  CHECK (0 <= floor AND floor <= head)
) WITH (fillfactor = 50);

CREATE TABLE changes (
  owner text NOT NULL,
  resource text NOT NULL,
  key text NOT NULL CHECK (key <> '' AND char_length(key) <= 512),
  "offset" bigint NOT NULL,
  op text NOT NULL CHECK (op IN ('put', 'remove')),
  updated_at timestamptz NOT NULL CHECK ('0001-01-02 00:00Z' <= updated_at AND updated_at < '9999-12-31 00:00Z'),
  device_id text,
  PRIMARY KEY (owner, resource, key),
  CONSTRAINT changes_owner_offset_key UNIQUE (owner, "offset")
) WITH (fillfactor = 70);

CREATE TABLE epoch (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  id text NOT NULL,
  system_identifier text NOT NULL,
  timeline bigint NOT NULL
);
"""

# An owner that the transaction has not named sees nothing. The setting is a text[] written out; unset means none.
ISOLATE = """
CREATE FUNCTION sync_owners_v1() RETURNS text[] LANGUAGE sql STABLE PARALLEL SAFE
  RETURN nullif(current_setting('syncserver.owners', true), '')::text[];

CREATE FUNCTION sync_isolate_v1(p_table regclass) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  -- The empty text keeps the planner from taking this for a way to find rows: decision 7.
  mine constant text := $q$owner || '' = ANY ((SELECT sync_owners_v1())::text[])$q$;
BEGIN
  EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', p_table);
  EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', p_table);
  EXECUTE format('CREATE POLICY owners_select ON %s FOR SELECT USING (%s)', p_table, mine);
  EXECUTE format('CREATE POLICY owners_insert ON %s FOR INSERT WITH CHECK (%s)', p_table, mine);
  EXECUTE format('CREATE POLICY owners_update ON %s FOR UPDATE USING (%s) WITH CHECK (%s)', p_table, mine, mine);
  EXECUTE format('CREATE POLICY owners_delete ON %s FOR DELETE USING (%s)', p_table, mine);
END $$;
"""

# The channel's row stays locked from here to the end of the transaction: so offsets are gapless and in commit order.
RECORD = """
CREATE FUNCTION sync_record_v1(
  p_owner text, p_resource text, p_key text, p_op text, p_updated_at timestamptz, p_device_id text
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_offset bigint;
BEGIN
  INSERT INTO channels AS c (owner, head) VALUES (p_owner, 1)
    ON CONFLICT (owner) DO UPDATE SET head = c.head + 1
    RETURNING head INTO v_offset;
  INSERT INTO changes (owner, resource, key, "offset", op, updated_at, device_id)
    VALUES (p_owner, p_resource, p_key, v_offset, p_op, p_updated_at, p_device_id)
    ON CONFLICT (owner, resource, key) DO UPDATE SET
      "offset" = excluded."offset", op = excluded.op,
      updated_at = excluded.updated_at, device_id = excluded.device_id;
  PERFORM pg_notify('syncserver', p_owner);
END $$;
"""

# Whoever writes without a stamp gets one, past the row's last; and no device made that write. The server stamps its own.
STAMP = """
CREATE FUNCTION sync_stamp_v1() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('syncserver.stamped', true) = 'on' THEN
    RETURN new;
  END IF;
  IF tg_op = 'INSERT' THEN
    new.updated_at := coalesce(new.updated_at, clock_timestamp());
  ELSIF new IS DISTINCT FROM old AND new.updated_at IS NOT DISTINCT FROM old.updated_at
        AND (tg_nargs = 0 OR to_jsonb(new) - tg_argv[0]::text[] <> to_jsonb(old) - tg_argv[0]::text[]) THEN
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
    IF new.device_id IS NOT DISTINCT FROM old.device_id THEN
      new := jsonb_populate_record(new, '{"device_id": null, "device_name": null}');
    END IF;
  END IF;
  RETURN new;
END $$;
"""

# A capture function is made for each table, so that its columns are named and not looked up at every write.
TRACK = """
CREATE FUNCTION sync_track_v1(p_table regclass, p_resource text, p_key text, p_ignored text[] DEFAULT '{}')
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  capture constant text := format('sync_capture_%s_v1', p_resource);
  unchanged text := 'new IS NOT DISTINCT FROM old';
BEGIN
  IF p_ignored <> '{}' THEN
    unchanged := format('to_jsonb(new) - %L::text[] = to_jsonb(old) - %L::text[]', p_ignored, p_ignored);
  END IF;
  EXECUTE format($f$
    CREATE FUNCTION %1$I() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = %5$I, pg_temp AS $c$
    BEGIN
      IF tg_op = 'UPDATE' THEN
        IF %4$s THEN
          RETURN NULL;
        END IF;
        IF new.owner <> old.owner OR new.%3$I <> old.%3$I THEN
          PERFORM sync_record_v1(old.owner, %2$L, old.%3$I::text, 'remove', new.updated_at, old.device_id);
        END IF;
      END IF;
      IF tg_op = 'DELETE' THEN
        PERFORM sync_record_v1(old.owner, %2$L, old.%3$I::text, 'remove',
          greatest(clock_timestamp(), old.updated_at + interval '1 microsecond'), NULL);
      ELSE
        PERFORM sync_record_v1(new.owner, %2$L, new.%3$I::text, 'put', new.updated_at, new.device_id);
      END IF;
      RETURN NULL;
    END $c$ $f$, capture, p_resource, p_key, unchanged, current_schema());
  EXECUTE format('REVOKE EXECUTE ON FUNCTION %I() FROM PUBLIC', capture);  -- or anybody puts it on a table of their own
  EXECUTE format('CREATE TRIGGER sync_stamp BEFORE INSERT OR UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION sync_stamp_v1(%s)',
    p_table, CASE WHEN p_ignored = '{}' THEN '' ELSE quote_literal(p_ignored) END);
  EXECUTE format('CREATE TRIGGER sync_capture AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION %I()',
    p_table, capture);
  EXECUTE format('CREATE TRIGGER sync_no_truncate BEFORE TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION sync_refuse_v1()',
    p_table);
END $$;

CREATE FUNCTION sync_refuse_v1() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'TRUNCATE on % would reach no device', tg_table_name USING HINT = 'Use DELETE.';
END $$;

CREATE FUNCTION sync_untrack_v1(p_table regclass, p_resource text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('DROP TRIGGER sync_stamp ON %s', p_table);
  EXECUTE format('DROP TRIGGER sync_capture ON %s', p_table);
  EXECUTE format('DROP TRIGGER sync_no_truncate ON %s', p_table);
  EXECUTE format('DROP FUNCTION %I()', format('sync_capture_%s_v1', p_resource));
END $$;
"""

# The stamp and device of a removal are the mutation's, and only tombstones of the owners named may be given theirs.
REMOVED = """
CREATE FUNCTION sync_removed_v1(p_owner text, p_resource text, p_key text, p_updated_at timestamptz, p_device_id text)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = %s, pg_temp AS $$
BEGIN
  IF p_owner <> ALL (coalesce(sync_owners_v1(), '{}')) OR NOT EXISTS (
    SELECT FROM changes WHERE owner = p_owner AND resource = p_resource AND key = p_key AND op = 'remove'
  ) THEN
    RAISE EXCEPTION 'no such removal' USING ERRCODE = 'no_data_found';
  END IF;
  PERFORM sync_record_v1(p_owner, p_resource, p_key, 'remove', p_updated_at, p_device_id);
END $$;
"""

# A restored or promoted database has another system identifier or timeline: its offsets are another log's.
EPOCH = """
CREATE FUNCTION sync_epoch_v1() RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = %s, pg_temp AS $$
DECLARE
  v_system constant text := (SELECT system_identifier::text FROM pg_control_system());
  v_timeline constant bigint := (SELECT timeline_id FROM pg_control_checkpoint());
  v_id text;
BEGIN
  SELECT id INTO v_id FROM epoch WHERE system_identifier = v_system AND timeline = v_timeline;
  IF v_id IS NULL THEN
    INSERT INTO epoch AS e (id, system_identifier, timeline)
      VALUES (left(replace(gen_random_uuid()::text, '-', ''), 10), v_system, v_timeline)
      ON CONFLICT (one) DO UPDATE SET
        id = excluded.id, system_identifier = excluded.system_identifier, timeline = excluded.timeline
        WHERE e.system_identifier <> excluded.system_identifier OR e.timeline <> excluded.timeline;
    SELECT id INTO v_id FROM epoch;
  END IF;
  RETURN v_id;
END $$;
"""

GRANTS = """
GRANT USAGE ON SCHEMA %s TO syncserver_app;
GRANT SELECT ON channels, changes, epoch, alembic_version TO syncserver_app;
REVOKE EXECUTE ON FUNCTION sync_record_v1, sync_track_v1, sync_untrack_v1, sync_isolate_v1, sync_removed_v1, sync_epoch_v1
  FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sync_removed_v1, sync_epoch_v1 TO syncserver_app;
"""


def upgrade() -> None:
    schema = op.get_bind().dialect.identifier_preparer.quote(
        op.get_bind().exec_driver_sql("SELECT current_schema()").scalar_one()
    )
    for sql in (ROLE, TABLES, ISOLATE, RECORD, STAMP, TRACK):
        op.execute(sql)
    for sql in (REMOVED, EPOCH, GRANTS):
        op.execute(sql.replace("%s", schema))
    op.execute("SELECT sync_isolate_v1('channels'), sync_isolate_v1('changes'), sync_epoch_v1()")


def downgrade() -> None:
    op.execute(
        "DROP FUNCTION sync_epoch_v1, sync_removed_v1, sync_untrack_v1, sync_track_v1, sync_stamp_v1, sync_record_v1"
    )
    op.execute("DROP FUNCTION sync_refuse_v1")
    op.execute("REVOKE SELECT ON alembic_version FROM syncserver_app")
    op.execute("DROP TABLE epoch, changes, channels")
    op.execute("DROP FUNCTION sync_isolate_v1, sync_owners_v1")
    # The role stays: other databases of the same server may use it.
