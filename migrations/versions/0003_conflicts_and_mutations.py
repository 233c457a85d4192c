"""What the engine writes beside a row: the conflicts it decided, and its first answer to each mutation."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
    CREATE TABLE conflicts (
      owner text NOT NULL,
      id uuid NOT NULL,
      resource text NOT NULL,
      key text NOT NULL,
      policy text NOT NULL,
      reason text NOT NULL,
      winner jsonb NOT NULL,
      loser jsonb NOT NULL,
      created_at timestamptz NOT NULL DEFAULT now(),
      PRIMARY KEY (owner, id)
    )
    """)
    op.execute("CREATE INDEX conflicts_owner_created_at_idx ON conflicts (owner, created_at)")
    op.execute("""
    CREATE TABLE mutations (
      owner text NOT NULL,
      client_id text NOT NULL,
      mutation_id uuid NOT NULL,
      "offset" bigint,
      ack jsonb NOT NULL,
      created_at timestamptz NOT NULL DEFAULT now(),
      PRIMARY KEY (owner, client_id, mutation_id)
    )
    """)
    op.execute('CREATE INDEX mutations_owner_offset_idx ON mutations (owner, "offset") WHERE "offset" IS NOT NULL')
    op.execute("CREATE INDEX mutations_created_at_idx ON mutations (created_at)")
    op.execute("SELECT sync_isolate_v1('conflicts'), sync_isolate_v1('mutations')")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON conflicts, mutations TO syncserver_app")


def downgrade() -> None:
    op.execute("DROP TABLE mutations, conflicts")
