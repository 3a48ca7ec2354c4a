"""YAML as plain values that still know their lines, so that an error can name them.

A narrow reader on purpose: one document of mappings, lists and plain values. Anchors, aliases and
tags are refused, and so are keys that stand twice.
"""

from collections.abc import Mapping
from typing import Any

import yaml

from evidence.errors import InvalidInput

Path = tuple[str | int, ...]
"""Keys and positions that lead to a value."""

MAX_BYTES = 1 << 20
"""Largest document."""

_MOST_DEPTH = 20


class Document:
    """A YAML document and where its values stand.

    Args:
        data: Its bytes, UTF-8.
        name: Of the file, for messages.

    Raises:
        InvalidInput: It is no YAML of the narrow kind; the message names file and line.
    """

    def __init__(self, data: bytes, *, name: str) -> None:
        self._name = name
        self._lines: dict[Path, int] = {(): 1}
        if len(data) > MAX_BYTES:
            raise InvalidInput(f"{name}: expected at most {MAX_BYTES} bytes, found {len(data)}")
        try:
            _refuse_references(data, name)
            root = yaml.compose(data, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 1
            raise InvalidInput(f"{name}, line {line}: {error.problem or error.context}") from error
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidInput(f"{name}: expected YAML, found: {error}"[:300]) from error
        self.value: Any = None if root is None else self._plain(root, ())
        """The document as dicts, lists, text, numbers, booleans, None."""

    def error(self, path: Path, message: str) -> InvalidInput:
        """Return the error of what is wrong at `path`, or at the nearest place above it."""
        place = path
        while place not in self._lines:
            place = place[:-1]
        field = ".".join(map(str, path))
        return InvalidInput(
            f"{self._name}, line {self._lines[place]}: {field}: {message}", field=field
        )

    def _plain(self, node: yaml.Node, path: Path) -> Any:
        if len(path) > _MOST_DEPTH:
            raise self.error(path, f"expected at most {_MOST_DEPTH} levels")
        self._lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(part, (*path, i)) for i, part in enumerate(node.value)]
        try:
            value = yaml.SafeLoader("").construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            raise self.error(path, f"expected a plain value, found: {error}"[:200]) from error
        is_plain = value is None or isinstance(value, (str, int, float, bool))
        return value if is_plain else str(node.value)  # a date is its text

    def _mapping(self, node: yaml.MappingNode, path: Path) -> Mapping[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            place = (*path, key)
            if key in found:
                self._lines[place] = key_node.start_mark.line + 1
                raise self.error(place, "expected once, found twice")
            self._lines[place] = key_node.start_mark.line + 1
            found[key] = self._plain(value_node, place)
        return found


def _refuse_references(data: bytes, name: str) -> None:
    refused = (yaml.AliasToken, yaml.AnchorToken, yaml.TagToken, yaml.DirectiveToken)
    for token in yaml.scan(data, Loader=yaml.SafeLoader):
        if isinstance(token, refused):
            kind = type(token).__name__.removesuffix("Token").lower()
            line = token.start_mark.line + 1
            raise InvalidInput(f"{name}, line {line}: expected plain values, found a YAML {kind}")
