"""A transaction that says so has its rows put into the log by statement, not one by one: one look at each channel.

Row by row, most of a write's cost was the log's: two statements for each row, each of them begun and ended anew.
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# Whoever raises a channel by hand first brings down what this transaction has counted in memory so far (see 0010).
LEVEL = """
CREATE FUNCTION sync_level_v1() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_run constant text[] := nullif(current_setting('syncserver.run', true), '')::text[];
BEGIN
  IF v_run[1] IS DISTINCT FROM pg_current_xact_id()::text THEN
    RETURN;
  END IF;
  PERFORM set_config('syncserver.run', '', true);
  IF v_run[3]::bigint > v_run[4]::bigint THEN
    PERFORM sync_settle_v1(v_run[2], v_run[3]::bigint);
  END IF;
  IF v_run[6]::bigint > v_run[7]::bigint THEN
    PERFORM sync_settle_v1(v_run[5], v_run[6]::bigint);
  END IF;
END $$;

CREATE FUNCTION sync_unpaired_v1() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'a row changes its owner or key where many are logged at once' USING ERRCODE = 'feature_not_supported';
END $$;

DROP TRIGGER sync_settled ON channels;
CREATE CONSTRAINT TRIGGER sync_settled AFTER INSERT OR UPDATE OF head ON channels DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW WHEN (nullif(current_setting('syncserver.run', true), '') IS NOT NULL) EXECUTE FUNCTION sync_settled_v1();
"""
UNLEVEL = """
DROP TRIGGER sync_settled ON channels;
CREATE CONSTRAINT TRIGGER sync_settled AFTER INSERT OR UPDATE OF head ON channels DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION sync_settled_v1();
DROP FUNCTION sync_unpaired_v1, sync_level_v1;
"""

# `syncserver.many` says only by which triggers a row comes into the log: in either case, it does. The channels are raised in
# order of owner, each once for all its rows. Removals always go one by one.
GATHER = """
CREATE FUNCTION sync_gather_v1(p_table regclass, p_resource text, p_key text, p_ignored text[] DEFAULT '{}')
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_gather constant text := format('sync_gather_%s_v1', p_resource);
  v_changed text := 'n IS DISTINCT FROM o';
BEGIN
  IF p_ignored <> '{}' THEN
    v_changed := format('to_jsonb(n) - %L::text[] IS DISTINCT FROM to_jsonb(o) - %L::text[]', p_ignored, p_ignored);
  END IF;
  EXECUTE format($f$
    CREATE FUNCTION %1$I() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = %5$I, pg_temp AS $g$
    BEGIN
      IF NOT EXISTS (SELECT FROM fresh) THEN
        RETURN NULL;
      END IF;
      PERFORM sync_level_v1();
      IF tg_op = 'INSERT' THEN
        WITH taken AS (
          INSERT INTO channels AS c (owner, head) SELECT owner, count(*) FROM fresh GROUP BY owner ORDER BY owner
            ON CONFLICT (owner) DO UPDATE SET head = c.head + excluded.head
            RETURNING c.owner, c.head, pg_notify('syncserver', c.owner)
        )
        INSERT INTO changes (owner, resource, key, "offset", op, updated_at, device_id)
          SELECT n.owner, %2$L, n.%3$I::text, t.head + 1 - row_number() OVER (PARTITION BY n.owner ORDER BY n.%3$I::text COLLATE "C" DESC),
            'put', n.updated_at, n.device_id
          FROM fresh n JOIN taken t ON t.owner = n.owner
          ON CONFLICT (owner, resource, key) DO UPDATE SET
            "offset" = excluded."offset", op = excluded.op, updated_at = excluded.updated_at,
            device_id = excluded.device_id, removed_at = NULL;
      ELSE
        WITH put AS MATERIALIZED (
          SELECT n.owner, n.%3$I::text AS key, n.updated_at, n.device_id FROM fresh n
          LEFT JOIN stale o ON o.owner = n.owner AND o.%3$I = n.%3$I
          WHERE CASE WHEN o.owner IS NULL THEN sync_unpaired_v1() ELSE %4$s END
        ),
        taken AS (
          INSERT INTO channels AS c (owner, head) SELECT owner, count(*) FROM put GROUP BY owner ORDER BY owner
            ON CONFLICT (owner) DO UPDATE SET head = c.head + excluded.head
            RETURNING c.owner, c.head, pg_notify('syncserver', c.owner)
        )
        INSERT INTO changes (owner, resource, key, "offset", op, updated_at, device_id)
          SELECT n.owner, %2$L, n.key, t.head + 1 - row_number() OVER (PARTITION BY n.owner ORDER BY n.key COLLATE "C" DESC),
            'put', n.updated_at, n.device_id
          FROM put n JOIN taken t ON t.owner = n.owner
          ON CONFLICT (owner, resource, key) DO UPDATE SET
            "offset" = excluded."offset", op = excluded.op, updated_at = excluded.updated_at,
            device_id = excluded.device_id, removed_at = NULL;
      END IF;
      RETURN NULL;
    END $g$ $f$, v_gather, p_resource, p_key, v_changed, current_schema());
  EXECUTE format('REVOKE EXECUTE ON FUNCTION %I() FROM PUBLIC', v_gather);
  EXECUTE format('CREATE TRIGGER sync_capture_new AFTER INSERT ON %s REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT'
    ' WHEN (current_setting(''syncserver.many'', true) = ''on'') EXECUTE FUNCTION %I()', p_table, v_gather);
  EXECUTE format('CREATE TRIGGER sync_capture_changed AFTER UPDATE ON %s REFERENCING NEW TABLE AS fresh OLD TABLE AS stale'
    ' FOR EACH STATEMENT WHEN (current_setting(''syncserver.many'', true) = ''on'') EXECUTE FUNCTION %I()', p_table, v_gather);
  EXECUTE format('DROP TRIGGER sync_capture ON %s', p_table);
  EXECUTE format('CREATE TRIGGER sync_capture AFTER INSERT OR UPDATE ON %s FOR EACH ROW'
    ' WHEN (current_setting(''syncserver.many'', true) IS DISTINCT FROM ''on'') EXECUTE FUNCTION %I()',
    p_table, format('sync_capture_%s_v3', p_resource));
  EXECUTE format('CREATE TRIGGER sync_capture_gone AFTER DELETE ON %s FOR EACH ROW EXECUTE FUNCTION %I()',
    p_table, format('sync_capture_%s_v3', p_resource));
  EXECUTE format('DROP TRIGGER sync_stamp ON %s', p_table);
  EXECUTE format('CREATE TRIGGER sync_stamp BEFORE INSERT OR UPDATE ON %s FOR EACH ROW'
    ' WHEN (current_setting(''syncserver.stamped'', true) IS DISTINCT FROM ''on'') EXECUTE FUNCTION sync_stamp_v1(%s)',
    p_table, CASE WHEN p_ignored = '{}' THEN '' ELSE quote_literal(p_ignored) END);
END $$;

CREATE FUNCTION sync_ungather_v1(p_table regclass, p_resource text, p_ignored text[] DEFAULT '{}') RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('DROP TRIGGER sync_capture_new ON %s', p_table);
  EXECUTE format('DROP TRIGGER sync_capture_changed ON %s', p_table);
  EXECUTE format('DROP TRIGGER sync_capture_gone ON %s', p_table);
  EXECUTE format('DROP FUNCTION %I()', format('sync_gather_%s_v1', p_resource));
  EXECUTE format('DROP TRIGGER sync_capture ON %s', p_table);
  EXECUTE format('CREATE TRIGGER sync_capture AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION %I()',
    p_table, format('sync_capture_%s_v3', p_resource));
  EXECUTE format('DROP TRIGGER sync_stamp ON %s', p_table);
  EXECUTE format('CREATE TRIGGER sync_stamp BEFORE INSERT OR UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION sync_stamp_v1(%s)',
    p_table, CASE WHEN p_ignored = '{}' THEN '' ELSE quote_literal(p_ignored) END);
END $$;

CREATE FUNCTION sync_track_v4(p_table regclass, p_resource text, p_key text, p_ignored text[] DEFAULT '{}')
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM sync_track_v3(p_table, p_resource, p_key, p_ignored);
  PERFORM sync_gather_v1(p_table, p_resource, p_key, p_ignored);
END $$;

CREATE FUNCTION sync_untrack_v4(p_table regclass, p_resource text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM sync_ungather_v1(p_table, p_resource);
  PERFORM sync_untrack_v3(p_table, p_resource);
END $$;
REVOKE EXECUTE ON FUNCTION sync_level_v1, sync_unpaired_v1, sync_gather_v1, sync_ungather_v1, sync_track_v4, sync_untrack_v4 FROM PUBLIC;
"""

# Only where it has something to do: the server has done it already.
FURTHEST = """
DROP TRIGGER furthest ON reading_progress;
CREATE TRIGGER furthest BEFORE INSERT OR UPDATE ON reading_progress FOR EACH ROW
  WHEN (new.percentage IS NOT NULL AND (new.furthest >= new.percentage) IS NOT TRUE)
  EXECUTE FUNCTION reading_progress_furthest_v1();
"""
UNFURTHEST = """
DROP TRIGGER furthest ON reading_progress;
CREATE TRIGGER furthest BEFORE INSERT OR UPDATE ON reading_progress
  FOR EACH ROW EXECUTE FUNCTION reading_progress_furthest_v1();
"""

GATHERED = {
    "reading_progress": ("progress", "publication_id"),
    "reading_sessions": ("reading_sessions", "id"),
    "session_events": ("session_events", "id"),
    "readings": ("readings", "session_id"),
    "conversations": ("conversations", "id"),
    "messages": ("messages", "id"),
    "nodes": ("nodes", "id"),
    "node_components": ("node_components", "id"),
    "session_relationships": ("session_relationships", "id"),
}


def upgrade() -> None:
    op.execute(LEVEL)
    op.execute(GATHER)
    op.execute(FURTHEST)
    for table, (resource, key) in GATHERED.items():
        op.execute(f"SELECT sync_gather_v1('{table}', '{resource}', '{key}')")


def downgrade() -> None:
    for table, (resource, _) in GATHERED.items():
        op.execute(f"SELECT sync_ungather_v1('{table}', '{resource}')")
    op.execute(UNFURTHEST)
    op.execute("DROP FUNCTION sync_untrack_v4, sync_track_v4, sync_ungather_v1, sync_gather_v1")
    op.execute(UNLEVEL)
