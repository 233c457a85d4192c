"""Faults put into the change index and its read door on purpose: an oracle that does not see them is worth nothing."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from syncserver.core.change import Page
from syncserver.storage import changes
from syncserver.storage.resource import Catalog
from syncserver.storage.trip import Ask

Read = Callable[..., Ask[dict[str, Page]]]

FLOOR_STAYS = """
CREATE FUNCTION mutant_floor() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  new.floor := old.floor;
  RETURN new;
END $$;
CREATE TRIGGER mutant_floor BEFORE UPDATE ON channels FOR EACH ROW EXECUTE FUNCTION mutant_floor();
"""
"""Tombstones go, but the floor does not rise over them."""

MOVE_LEAVES_NOTHING = """
DO $$
DECLARE
  v_whole text := (
    SELECT pg_get_functiondef(tgfoid) FROM pg_trigger
    WHERE tgname = 'sync_capture' AND tgrelid = 'reading_progress'::regclass
  );
  v_mutant text := replace(v_whole, 'new.owner <> old.owner OR ', '');
BEGIN
  IF v_mutant = v_whole THEN
    RAISE EXCEPTION 'the trigger is written differently now: write this mutant anew';
  END IF;
  EXECUTE v_mutant;
END $$;
"""
"""A row that changes owner is put into the new owner's log, and never taken out of the old one's."""


@contextmanager
def two_snapshots(owner_url: str) -> Iterator[Read]:
    """A read door that takes the entries from one snapshot and the head from the next."""
    with psycopg.connect(owner_url, autocommit=True) as later:

        def since(
            catalog: Catalog,
            after: Mapping[str, int],
            resources: Sequence[str] | None = None,
            limit: int = changes.PAGE_ROWS,
        ) -> Ask[dict[str, Page]]:
            asked = _since(catalog, after, resources, limit)

            def read(rows: Sequence[Any]) -> dict[str, Page]:
                heads: dict[str, int] = dict(later.execute("SELECT owner, head FROM channels").fetchall())
                return {owner: _under(page, heads.get(owner, 0)) for owner, page in asked.read(rows).items()}

            return Ask(asked.statement, asked.arguments, read)

        yield since


_since = changes.since  # the run puts the mutant in its place


def _under(page: Page, head: int) -> Page:
    return page._replace(head=head, until=page.until if page.more else max(head, page.since))
