"""What "nothing lost, nothing twice" needs.

Tombstones that expire, an epoch to rotate by hand, stamps as they were claimed, keys that temporary names became,
conflicts that are restored, and a ledger and conflicts that end.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE changes ADD COLUMN removed_at timestamptz;
UPDATE changes SET removed_at = now() WHERE op = 'remove';
CREATE INDEX changes_removed_at_idx ON changes (removed_at) WHERE removed_at IS NOT NULL;

ALTER TABLE mutations ADD COLUMN claimed_at timestamptz;
ALTER TABLE conflicts ADD COLUMN restored_at timestamptz;
CREATE INDEX conflicts_created_at_idx ON conflicts (created_at);

CREATE TABLE temporary_keys (
  owner text NOT NULL,
  client_id text NOT NULL,
  name text NOT NULL,
  resource text NOT NULL,
  key text,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (owner, client_id, name)
);
CREATE INDEX temporary_keys_created_at_idx ON temporary_keys (created_at);
"""

# As v1, and a tombstone knows since when it stands: its stamp may be much older, made on a device that was offline.
RECORD = """
CREATE FUNCTION sync_record_v2(
  p_owner text, p_resource text, p_key text, p_op text, p_updated_at timestamptz, p_device_id text
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_offset bigint;
  v_removed_at constant timestamptz := CASE p_op WHEN 'remove' THEN clock_timestamp() END;
BEGIN
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

TRACK = """
CREATE FUNCTION sync_track_v2(p_table regclass, p_resource text, p_key text, p_ignored text[] DEFAULT '{}')
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  capture constant text := format('sync_capture_%s_v2', p_resource);
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
          PERFORM sync_record_v2(old.owner, %2$L, old.%3$I::text, 'remove', new.updated_at, new.device_id);
        END IF;
      END IF;
      IF tg_op = 'DELETE' THEN
        PERFORM sync_record_v2(old.owner, %2$L, old.%3$I::text, 'remove',
          greatest(clock_timestamp(), old.updated_at + interval '1 microsecond'), NULL);
      ELSE
        PERFORM sync_record_v2(new.owner, %2$L, new.%3$I::text, 'put', new.updated_at, new.device_id);
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

CREATE FUNCTION sync_untrack_v2(p_table regclass, p_resource text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('DROP TRIGGER sync_stamp ON %s', p_table);
  EXECUTE format('DROP TRIGGER sync_capture ON %s', p_table);
  EXECUTE format('DROP TRIGGER sync_no_truncate ON %s', p_table);
  EXECUTE format('DROP FUNCTION %I()', format('sync_capture_%s_v2', p_resource));
END $$;
"""

# Whether there is a tombstone is asked once the channel is locked: before, somebody may be bringing the row back.
REMOVED = """
CREATE FUNCTION sync_removed_v2(p_owner text, p_resource text, p_key text, p_updated_at timestamptz, p_device_id text)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = %s, pg_temp AS $$
BEGIN
  IF p_owner IS NULL OR p_owner <> ALL (coalesce(sync_owners_v1(), '{}')) THEN
    RAISE EXCEPTION 'not an owner of this transaction' USING ERRCODE = 'insufficient_privilege';
  END IF;
  PERFORM FROM channels WHERE owner = p_owner FOR UPDATE;
  PERFORM FROM changes WHERE owner = p_owner AND resource = p_resource AND key = p_key AND op = 'remove';
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no removal here any more' USING ERRCODE = 'serialization_failure';
  END IF;
  PERFORM sync_record_v2(p_owner, p_resource, p_key, 'remove', p_updated_at, p_device_id);
END $$;
"""

# The floor rises in the transaction that forgets. The channel's row is locked first, as every writer does.
EXPIRE = """
CREATE FUNCTION sync_expire_v1(p_owner text, p_before timestamptz)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = %s, pg_temp AS $$
DECLARE
  v_count bigint;
  v_floor bigint;
BEGIN
  PERFORM FROM channels WHERE owner = p_owner FOR UPDATE;
  WITH gone AS (
    DELETE FROM changes WHERE owner = p_owner AND removed_at < p_before RETURNING "offset"
  ) SELECT count(*), max("offset") INTO v_count, v_floor FROM gone;
  UPDATE channels SET floor = v_floor WHERE owner = p_owner AND floor < v_floor;
  RETURN v_count;
END $$;

CREATE FUNCTION sync_expirable_v1(p_before timestamptz, p_limit int)
RETURNS SETOF text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = %s, pg_temp AS $$
  SELECT DISTINCT owner FROM (SELECT owner FROM changes WHERE removed_at < p_before ORDER BY removed_at LIMIT p_limit) AS c
$$;

CREATE FUNCTION sync_forget_v1(p_table text, p_before timestamptz, p_limit int)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = %s, pg_temp AS $$
DECLARE
  v_count bigint;
BEGIN
  IF p_table NOT IN ('mutations', 'conflicts', 'temporary_keys') THEN
    RAISE EXCEPTION 'nothing of %% is ever forgotten', p_table;
  END IF;
  EXECUTE format(
    'DELETE FROM %%1$I WHERE ctid = ANY (ARRAY(SELECT ctid FROM %%1$I WHERE created_at < $1 ORDER BY created_at LIMIT $2))', p_table
  ) USING p_before, p_limit;
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_count;
END $$;
"""

# Forced row-level security holds for the tables' owner too, and nobody can name all owners: upkeep, which runs with the
# tables' owner's rights inside the functions above, is let through by name.
UPKEEP = """
CREATE FUNCTION sync_upkeep_v1(p_table regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('CREATE POLICY upkeep_select ON %s FOR SELECT TO %I USING (true)', p_table, current_user);
  EXECUTE format('CREATE POLICY upkeep_delete ON %s FOR DELETE TO %I USING (true)', p_table, current_user);
END $$;
SELECT sync_upkeep_v1('changes'), sync_upkeep_v1('mutations'), sync_upkeep_v1('conflicts'), sync_upkeep_v1('temporary_keys');
"""

# For the operator: after a backup was put back in place of newer rows, every device has to fetch everything again.
ROTATE = """
CREATE FUNCTION sync_rotate_epoch_v1() RETURNS text LANGUAGE plpgsql SET search_path = %s, pg_temp AS $$
DECLARE
  v_id text;
BEGIN
  PERFORM sync_epoch_v1();
  UPDATE epoch SET id = left(replace(gen_random_uuid()::text, '-', ''), 10) RETURNING id INTO v_id;
  RETURN v_id;
END $$;
"""

GRANTS = """
REVOKE EXECUTE ON FUNCTION sync_record_v2, sync_track_v2, sync_untrack_v2, sync_removed_v2, sync_expire_v1, sync_expirable_v1,
  sync_forget_v1, sync_rotate_epoch_v1, sync_upkeep_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sync_removed_v2, sync_expire_v1, sync_expirable_v1, sync_forget_v1 TO syncserver_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON temporary_keys TO syncserver_app;
"""


def upgrade() -> None:
    schema = op.get_bind().dialect.identifier_preparer.quote(
        op.get_bind().exec_driver_sql("SELECT current_schema()").scalar_one()
    )
    for sql in (COLUMNS, RECORD, TRACK, REMOVED, EXPIRE, ROTATE):
        op.execute(sql.replace("%s", schema).replace("%%", "%") if "search_path = %s" in sql else sql)
    op.execute("SELECT sync_isolate_v1('temporary_keys')")
    op.execute(UPKEEP)
    op.execute(GRANTS)
    op.execute("SELECT sync_untrack_v1('reading_progress', 'progress')")
    op.execute("SELECT sync_track_v2('reading_progress', 'progress', 'publication_id')")


def downgrade() -> None:
    for table in ("changes", "mutations", "conflicts"):
        op.execute(f"DROP POLICY upkeep_select ON {table}")
        op.execute(f"DROP POLICY upkeep_delete ON {table}")
    op.execute("SELECT sync_untrack_v2('reading_progress', 'progress')")
    op.execute("SELECT sync_track_v1('reading_progress', 'progress', 'publication_id')")
    op.execute(
        "DROP FUNCTION sync_upkeep_v1, sync_rotate_epoch_v1, sync_forget_v1, sync_expirable_v1, sync_expire_v1, sync_removed_v2,"
        " sync_untrack_v2, sync_track_v2, sync_record_v2"
    )
    op.execute("DROP TABLE temporary_keys")
    op.execute("DROP INDEX conflicts_created_at_idx")
    op.execute("ALTER TABLE conflicts DROP COLUMN restored_at")
    op.execute("ALTER TABLE mutations DROP COLUMN claimed_at")
    op.execute("ALTER TABLE changes DROP COLUMN removed_at")
