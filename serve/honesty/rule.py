"""What a rule of the honesty scan is."""

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from serve.honesty.source import Source

Records = Mapping[str, tuple[str, ...]]
"""Classes that hold at least two measures: class name to field names, in order."""

Hit = tuple[ast.AST, str]
"""The node at fault, and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that shipped code must not do."""

    id: str
    """Stable name."""
    finds: str
    """What it finds, in a sentence."""
    near_miss: str
    """What looks like it and is fine."""
    detect: Callable[[Source, Records], Iterator[Hit]]
    """Yields each place in a file that breaks it."""
