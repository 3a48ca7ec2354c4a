"""docs/errors.md lists every stable code with its HTTP status."""

from evidence import errors
from evidence.errors import ServiceError
from serve.problems import STATUS_OF
from tests.docs.tables import code, rows


def _told() -> dict[str, int]:
    return {code(row[0]): int(row[1]) for row in rows("errors.md", columns=3) if row[1].isdecimal()}


def _codes(kind: type[ServiceError]) -> set[str]:
    return {kind.code}.union(*(_codes(child) for child in kind.__subclasses__()))


def test_the_page_and_the_code_map_the_same_codes_to_the_same_status() -> None:
    assert _told() == STATUS_OF


def test_every_error_class_of_the_tree_is_on_the_page() -> None:
    of_tree = {
        kind.code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, ServiceError)
    }
    assert of_tree <= _codes(ServiceError)
    assert of_tree <= set(_told())
