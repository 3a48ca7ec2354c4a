"""docs/policy.md, made from the schema of the policy: `python -m governance > docs/policy.md`."""

from collections.abc import Iterator
from typing import get_args

from pydantic import BaseModel

from governance.gate import RULES
from governance.pii.entities import Entity
from governance.policy import SHIPPED, Rules

_HEAD = """\
# The data policy

Made by `python -m governance` from `governance/policy.py`; do not edit it by hand. What the
policy is for: [Governance](governance.md).

A service reads its policy again for every run: the file that `ZEROPOINT_POLICY` names, else the
shipped one. The version of a policy is the SHA-256 of its bytes; every verdict names it, and a
change is the line `policy.changed` of the service journal. A file that is not there, or
malformed, stops new runs (`policy_unreadable`) and keeps queued ones waiting.

Where a field says what becomes of something, it is one of `allow`, `needs_proposal`, `deny`. A
pattern is shell style: `*` stands for any text.
"""


def policy_reference() -> str:
    """Return the document."""
    return "".join(f"{line}\n" for line in _lines())


def _lines() -> Iterator[str]:
    yield from _HEAD.splitlines()
    yield from ("", "## Fields", "", "| field | default | meaning |", "|---|---|---|")
    yield from _rows(Rules, "")
    yield from ("", "## Rules of the gate", "", "| rule | lets a run pass when |", "|---|---|")
    for rule, meaning in RULES.items():
        yield f"| `{rule}` | {meaning} |"
    types = ", ".join(f"`{entity}`" for entity in Entity)
    yield from ("", f"Types of findings that `pii.most` may name: {types}.")
    yield from ("", "## The shipped policy", "")
    for line in SHIPPED.read_text(encoding="utf-8").splitlines():
        yield f"    {line}".rstrip()


def _rows(part: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in part.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        below = next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)
        if below is not None:
            yield from _rows(below, f"{prefix}{name}.")
            continue
        meaning = " ".join((field.description or "").split())
        default = _default(field.default, required=field.is_required())
        yield f"| `{prefix}{name}` | {default} | {meaning} |"


def _default(value: object, *, required: bool) -> str:
    if required:
        return "must be given"
    if value is None:
        return "none"
    return f"`{value}`" if value not in ((), {}) else "empty"
