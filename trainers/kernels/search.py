"""What tinygrad's search for kernels (BEAM) chose in this process.

For each kernel tinygrad times variants and keeps the fastest; its choice stays in the kernel cache
on disk, where the next process finds it. Timing decides, so two machines may choose differently,
and choices change bits: they belong to what a run computes with. Light: it reads tinygrad, which
has to be loaded already.

Source: `codegen/opt/search.py` of tinygrad 0.14.0.
"""

import os
import sys
from typing import Any, Final

SETTINGS: Final = ("BEAM", "JITBEAM")
"""Variables that tinygrad reads the width from."""

_CANDIDATE: Final = "test"
"""Name that tinygrad gives to a variant which it only times."""


def width() -> int:
    """Return how many variants of a kernel are kept at each step of the search; 0 searches none."""
    return int(os.environ.get("BEAM", "0"))


def describe() -> dict[str, Any]:
    """Return `width`, and `options` of each kernel that was compiled so far with any.

    A kernel goes by the head of its key, which does not depend on process or machine.
    """
    found = {
        key[0].hex()[:16]: [_text(option) for option in program.src[0].arg.applied_opts]
        for key, program in _programs().items()
        if program.src[0].arg.name != _CANDIDATE and program.src[0].arg.applied_opts
    }
    return {"width": width(), "options": found}


def candidates() -> int:
    """Return how many variants this process compiled for its search; 0 if all was in the cache."""
    return sum(program.src[0].arg.name == _CANDIDATE for program in _programs().values())


def _programs() -> dict[Any, Any]:
    programs: dict[Any, Any] = sys.modules["tinygrad.codegen"].to_program_cache
    return programs


def _text(option: Any) -> str:
    return f"{option.op.name} {option.axis} {option.arg}"
