"""Anonymous sessions, and keys that can be taken back.

A session is a synced row whose owner is the session itself, until a signed-in reader claims it. When the row goes, or
changes hands, everything else that the session owned goes with it, and nothing can be written in its name again.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# device_id is there because every synced table has it, and null because nothing here identifies anybody.
TABLES = """
CREATE TABLE sessions (
  owner text NOT NULL,
  id uuid NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  last_accessed timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL DEFAULT now() + interval '100 years',
  device_id text CHECK (device_id IS NULL),
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (owner, id),
  CONSTRAINT sessions_id_key UNIQUE (id),
  CHECK (owner NOT LIKE 'session:%' OR owner = 'session:' || id)
) WITH (fillfactor = 70);
CREATE INDEX sessions_owner_updated_at_idx ON sessions (owner, updated_at);

-- token_id '': every token that was issued before `before`. A row is of no use after expires_at.
CREATE TABLE revocations (
  owner text NOT NULL,
  token_id text NOT NULL,
  before timestamptz,
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (owner, token_id),
  CHECK ((token_id = '') = (before IS NOT NULL))
);
CREATE INDEX revocations_expires_at_idx ON revocations (expires_at);

ALTER TABLE tickets ADD COLUMN token_id text, ADD COLUMN issued_at timestamptz;
"""

# As v2, but nobody is left to hear of what a session that has ended no longer has.
RECORD = """
CREATE FUNCTION sync_record_v3(
  p_owner text, p_resource text, p_key text, p_op text, p_updated_at timestamptz, p_device_id text
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_offset bigint;
  v_removed_at constant timestamptz := CASE p_op WHEN 'remove' THEN clock_timestamp() END;
BEGIN
  IF p_op = 'remove' AND p_owner LIKE 'session:%' AND NOT EXISTS (SELECT FROM sessions WHERE owner = p_owner) THEN
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

TRACK = """
CREATE FUNCTION sync_track_v3(p_table regclass, p_resource text, p_key text, p_ignored text[] DEFAULT '{}')
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  capture constant text := format('sync_capture_%s_v3', p_resource);
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
          PERFORM sync_record_v3(old.owner, %2$L, old.%3$I::text, 'remove', new.updated_at, new.device_id);
        END IF;
      END IF;
      IF tg_op = 'DELETE' THEN
        PERFORM sync_record_v3(old.owner, %2$L, old.%3$I::text, 'remove',
          greatest(clock_timestamp(), old.updated_at + interval '1 microsecond'), NULL);
      ELSE
        PERFORM sync_record_v3(new.owner, %2$L, new.%3$I::text, 'put', new.updated_at, new.device_id);
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

CREATE FUNCTION sync_untrack_v3(p_table regclass, p_resource text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('DROP TRIGGER sync_stamp ON %s', p_table);
  EXECUTE format('DROP TRIGGER sync_capture ON %s', p_table);
  EXECUTE format('DROP TRIGGER sync_no_truncate ON %s', p_table);
  EXECUTE format('DROP FUNCTION %I()', format('sync_capture_%s_v3', p_resource));
END $$;
"""

# Nothing is written in the name of a session that is not there; the lock keeps it from ending until the writer has.
LIVING = """
CREATE FUNCTION sync_living_v1() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = %s, pg_temp AS $$
BEGIN
  PERFORM FROM sessions WHERE owner = new.owner FOR KEY SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'this session has ended' USING ERRCODE = 'SE404';
  END IF;
  RETURN new;
END $$;

CREATE FUNCTION sync_guard_v1(p_table regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('CREATE TRIGGER sync_living BEFORE INSERT ON %s FOR EACH ROW WHEN (new.owner LIKE ''session:%%'')'
    ' EXECUTE FUNCTION sync_living_v1()', p_table);
END $$;
"""

# After a session's row went or changed hands: whatever is left of it, in every table that keeps owners apart. It fires
# before sync_capture (triggers go by name), and a table that comes later is in it without a change.
WIPE = """
CREATE FUNCTION sync_wipe_v1() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = %s, pg_temp AS $$
DECLARE
  v_table regclass;
BEGIN
  FOR v_table IN
    SELECT c.oid FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'owner' AND NOT a.attisdropped
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND c.relforcerowsecurity
      AND c.oid <> tg_relid
    ORDER BY EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'sync_capture') DESC, c.oid
  LOOP
    EXECUTE format('DELETE FROM %s WHERE owner = $1', v_table) USING old.owner;
  END LOOP;
  PERFORM pg_notify('syncserver_keys', old.owner);
  RETURN NULL;
END $$;
REVOKE EXECUTE ON FUNCTION sync_wipe_v1 FROM PUBLIC;
CREATE TRIGGER sync_a_wipe_deleted AFTER DELETE ON sessions FOR EACH ROW
  WHEN (old.owner LIKE 'session:%') EXECUTE FUNCTION sync_wipe_v1();
CREATE TRIGGER sync_a_wipe_moved AFTER UPDATE OF owner ON sessions FOR EACH ROW
  WHEN (old.owner LIKE 'session:%' AND old.owner <> new.owner) EXECUTE FUNCTION sync_wipe_v1();
"""

REVOKED = """
CREATE FUNCTION sync_revoked_v1() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('syncserver_keys', new.owner);
  RETURN NULL;
END $$;
CREATE TRIGGER sync_revoked AFTER INSERT OR UPDATE ON revocations FOR EACH ROW EXECUTE FUNCTION sync_revoked_v1();

CREATE FUNCTION sync_lapse_v1(p_limit int)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = %s, pg_temp AS $$
DECLARE
  v_count bigint;
BEGIN
  DELETE FROM revocations WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM revocations WHERE expires_at < clock_timestamp() ORDER BY expires_at LIMIT p_limit));
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_count;
END $$;
"""

# Asked before anybody is let in, for many at once. Whether a session is claimed shows in another owner's row.
STANDING = """
CREATE FUNCTION sync_standing_v1(p_owners text[])
RETURNS TABLE (owner text, state text, token_ids text[], before timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = %s, pg_temp AS $$
  SELECT o.owner,
    CASE WHEN o.owner NOT LIKE 'session:%' OR s.owner = o.owner THEN 'open' WHEN s.owner IS NULL THEN 'ended' ELSE 'claimed' END,
    ARRAY(SELECT r.token_id FROM revocations r WHERE r.owner = o.owner AND r.token_id <> ''),
    (SELECT r.before FROM revocations r WHERE r.owner = o.owner AND r.token_id = '')
  FROM unnest(p_owners) AS o (owner)
  LEFT JOIN sessions s
    ON s.id = CASE WHEN o.owner ~ '^session:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN substr(o.owner, 9)::uuid END
$$;
"""

TICKETS = """
CREATE FUNCTION sync_redeem_v2(
  p_hash bytea, OUT owner text, OUT token_expires_at timestamptz, OUT token_id text, OUT issued_at timestamptz
) LANGUAGE sql SECURITY DEFINER SET search_path = %s, pg_temp AS $$
  DELETE FROM tickets t WHERE t.hash = p_hash AND t.expires_at > clock_timestamp()
  RETURNING t.owner, t.token_expires_at, t.token_id, t.issued_at
$$;
"""

REMOVED = """
CREATE FUNCTION sync_removed_v3(p_owner text, p_resource text, p_key text, p_updated_at timestamptz, p_device_id text)
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
  PERFORM sync_record_v3(p_owner, p_resource, p_key, 'remove', p_updated_at, p_device_id);
END $$;
"""

GRANTS = """
GRANT SELECT, INSERT, UPDATE, DELETE ON sessions, revocations TO syncserver_app;
REVOKE EXECUTE ON FUNCTION sync_record_v3, sync_track_v3, sync_untrack_v3, sync_removed_v3, sync_living_v1, sync_guard_v1,
  sync_revoked_v1, sync_lapse_v1, sync_standing_v1, sync_redeem_v2 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sync_removed_v3, sync_lapse_v1, sync_standing_v1, sync_redeem_v2 TO syncserver_app;
"""

GUARDED = ("channels", "mutations", "temporary_keys", "conflicts", "tickets", "presences", "notes", "revocations")


def upgrade() -> None:
    schema = op.get_bind().dialect.identifier_preparer.quote(
        op.get_bind().exec_driver_sql("SELECT current_schema()").scalar_one()
    )
    for sql in (TABLES, RECORD, TRACK, LIVING, WIPE, REVOKED, STANDING, TICKETS, REMOVED, GRANTS):
        op.execute(sql.replace("search_path = %s", f"search_path = {schema}"))
    for table in ("sessions", "revocations"):
        op.execute(f"SELECT sync_isolate_v1('{table}'), sync_upkeep_v1('{table}')")
    for table in GUARDED:
        op.execute(f"SELECT sync_guard_v1('{table}')")
    op.execute("SELECT sync_untrack_v2('reading_progress', 'progress')")
    op.execute("SELECT sync_track_v3('reading_progress', 'progress', 'publication_id')")
    op.execute("SELECT sync_track_v3('sessions', 'sessions', 'id', '{last_accessed}')")


def downgrade() -> None:
    op.execute("SELECT sync_untrack_v3('sessions', 'sessions')")
    op.execute("SELECT sync_untrack_v3('reading_progress', 'progress')")
    op.execute("SELECT sync_track_v2('reading_progress', 'progress', 'publication_id')")
    for table in GUARDED:
        op.execute(f"DROP TRIGGER sync_living ON {table}")
    op.execute("DROP TABLE revocations, sessions")
    op.execute(
        "DROP FUNCTION sync_removed_v3, sync_redeem_v2, sync_standing_v1, sync_lapse_v1, sync_revoked_v1, sync_wipe_v1,"
        " sync_guard_v1, sync_living_v1, sync_untrack_v3, sync_track_v3, sync_record_v3"
    )
    op.execute("ALTER TABLE tickets DROP COLUMN token_id, DROP COLUMN issued_at")
