import pytest

from syncserver import resources
from syncserver.storage import tables
from syncserver.storage.resource import Catalog, Resource
from tests.resources import samples

CATALOG = resources.catalog()


def test_the_catalog_is_found_by_folder_and_made_once():
    assert "progress" in CATALOG
    assert resources.catalog() is CATALOG
    assert len({CATALOG, resources.catalog()}) == 1


@pytest.mark.parametrize("resource", CATALOG.values(), ids=lambda r: r.name)
def test_each_resource_stands_on_a_table_whose_key_begins_with_the_owner(resource: Resource):
    assert CATALOG[resource.name] is resource
    assert [c.name for c in resource.table.primary_key] == ["owner", resource.key]
    assert resource.table.metadata is tables.metadata
    assert {"updated_at", "device_id"} <= set(resource.table.columns.keys())


@pytest.mark.parametrize("name", samples.written())
def test_a_sample_of_each_resource_that_clients_write_shows_its_mark(name: str):
    one, other = (samples.fields_of(name, mark) for mark in ("the mark of one", "the mark of another"))
    assert one[samples.marked(name, "the mark of one")] == "the mark of one"
    assert one.keys() == other.keys()
    assert samples.key_of(name, "a") == CATALOG[name].canonical(samples.key_of(name, "a")) != samples.key_of(name, "b")


def test_samples_are_written_after_what_they_belong_to():
    names = samples.written()
    assert {*names} == {resource.name for resource in CATALOG.values() if not resource.read_only}
    for n, name in enumerate(names):
        assert {home for home, _ in samples.homes_of(name)} <= {*names[:n]}


@pytest.mark.parametrize("resource", CATALOG.values(), ids=lambda r: r.name)
def test_what_a_client_writes_sees_and_filters_by_are_columns(resource: Resource):
    shown = [c.name for c in resource.columns]
    assert "owner" not in shown
    assert resource.key in shown
    assert set(resource.fields) <= set(shown)
    assert not {"owner", resource.key, "updated_at", "device_id"} & set(resource.fields)
    assert set(resource.filters) <= set(resource.fields)
    assert set(resource.rules) <= set(resource.fields)
    assert resource.resolver is resource.resolver


def test_a_catalog_is_a_mapping_by_name_in_the_order_given():
    made = Catalog(list(CATALOG.values()))
    assert list(made) == list(CATALOG)
    assert len(made) == len(CATALOG)
    assert "nothing" not in made
