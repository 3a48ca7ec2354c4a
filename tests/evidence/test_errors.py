import pickle  # noqa: TID251 - errors travel between processes by pickle; nothing is stored
from pathlib import Path

import pytest

from evidence import errors
from evidence.errors import ServiceError


def tree(root: type[ServiceError]) -> list[type[ServiceError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in tree(child))]


OURS = [kind for kind in tree(ServiceError) if kind.__module__ == "evidence.errors"]


@pytest.mark.parametrize("kind", OURS)
def test_an_error_travels_between_processes_with_its_fields(kind: type[ServiceError]) -> None:
    error = kind("a sentence", field="a.b", expected="1", found="2", cure="do that")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - made one line above
    assert type(again) is kind
    assert vars(again) == vars(error)
    assert str(again) == "a sentence"


@pytest.mark.parametrize("kind", OURS)
def test_an_error_is_drawn_in_the_tree_and_has_code_and_title(kind: type[ServiceError]) -> None:
    assert kind.__name__ in (errors.__doc__ or "")
    assert kind.__dict__["code"]
    assert kind.__dict__["title"]


def test_codes_are_unique() -> None:
    codes = [kind.code for kind in OURS]
    assert len(set(codes)) == len(codes)


def test_the_drawing_has_no_error_that_is_not_there() -> None:
    drawn = Path(errors.__file__).read_text().split('"""')[1].splitlines()
    names = {line.split()[0] for line in drawn if line.startswith("    ")}
    assert names == {kind.__name__ for kind in OURS}


@pytest.mark.parametrize("kind", OURS)
def test_a_code_gives_its_error_again(kind: type[ServiceError]) -> None:
    assert type(errors.of_code(kind.code, "a sentence")) is kind


def test_an_unknown_code_gives_the_root() -> None:
    assert type(errors.of_code("surprise", "a sentence")) is ServiceError
