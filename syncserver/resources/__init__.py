"""What is synced: one file per system, found by folder. Adding a resource is one file here and one migration."""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from syncserver.storage.resource import Catalog, Resource


@cache
def catalog() -> Catalog:
    """Every resource that a module of this folder offers as `RESOURCES`, by name."""
    found: list[Resource] = []
    for module in sorted(m.name for m in iter_modules(__path__)):
        found.extend(import_module(f"{__name__}.{module}").RESOURCES)
    return Catalog(found)
