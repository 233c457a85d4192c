"""Reading progress, the first synced resource."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
    CREATE TABLE reading_progress (
      owner text NOT NULL,
      publication_id text NOT NULL CHECK (publication_id <> '' AND char_length(publication_id) <= 512),
      series_id text CHECK (char_length(series_id) <= 512),
      locator jsonb,
      position text CHECK (char_length(position) <= 4096),
      position_kind text CHECK (position_kind IN ('xpointer', 'page', 'cfi', 'time')),
      percentage double precision CHECK (percentage BETWEEN 0 AND 1),
      furthest double precision CHECK (furthest BETWEEN 0 AND 1),
      status text NOT NULL DEFAULT 'reading' CHECK (status IN ('reading', 'finished', 'abandoned')),
      device_id text CHECK (char_length(device_id) <= 128),
      device_name text CHECK (char_length(device_name) <= 128),
      updated_at timestamptz NOT NULL,
      created_at timestamptz NOT NULL DEFAULT now(),
      PRIMARY KEY (owner, publication_id)
    ) WITH (fillfactor = 70)
    """)
    op.execute("CREATE INDEX reading_progress_owner_series_id_idx ON reading_progress (owner, series_id)")
    op.execute("CREATE INDEX reading_progress_owner_updated_at_idx ON reading_progress (owner, updated_at)")
    op.execute("""
    CREATE FUNCTION reading_progress_furthest_v1() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      new.furthest := greatest(new.furthest, new.percentage);  -- whoever writes: where a reader is, the reader has been
      RETURN new;
    END $$
    """)
    op.execute("""
    CREATE TRIGGER furthest BEFORE INSERT OR UPDATE ON reading_progress
      FOR EACH ROW EXECUTE FUNCTION reading_progress_furthest_v1()
    """)
    op.execute("SELECT sync_track_v1('reading_progress', 'progress', 'publication_id')")
    op.execute("SELECT sync_isolate_v1('reading_progress')")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON reading_progress TO syncserver_app")


def downgrade() -> None:
    op.execute("SELECT sync_untrack_v1('reading_progress', 'progress')")
    op.execute("DROP TABLE reading_progress")
    op.execute("DROP FUNCTION reading_progress_furthest_v1")
