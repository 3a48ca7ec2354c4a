"""Safety limits: every run passes here, from HTTP and from a Ray job alike."""

import re
import shutil
from pathlib import Path

from cluster.settings import Limits, variable_of
from evidence.errors import ConfigError, StorageFull
from trainers.config import RunConfig


def require_within(config: RunConfig, limits: Limits) -> None:
    """Hold a resolved config against the limits.

    Raises:
        ConfigError: A field is over its limit; the field, the limit and its variable are named.
    """
    at_most = (
        ("steps", config.steps, limits.max_steps, "max_steps"),
        ("batch_size", config.batch_size, limits.max_batch_size, "max_batch_size"),
        ("optimizer.lr", config.optimizer.lr, limits.max_learning_rate, "max_learning_rate"),
        ("max_wall_s", config.max_wall_s, limits.max_wall_s, "max_wall_s"),
        ("max_restarts", config.max_restarts, limits.max_restarts, "max_restarts"),
    )
    for field, found, most, limit in at_most:
        if found > most:
            raise _over(field, f"at most {most}", str(found), limit)
    if config.model.architecture not in limits.architectures:
        allowed = ", ".join(limits.architectures)
        raise _over(
            "model.architecture", f"one of {allowed}", config.model.architecture, "architectures"
        )
    if not re.fullmatch(limits.name_pattern, config.name):
        raise _over("name", f"a match of {limits.name_pattern}", config.name, "name_pattern")


def require_space(root: Path, limits: Limits) -> None:
    """Refuse new runs while the evidence disk is nearly full.

    Raises:
        StorageFull: Less is free than `min_free_bytes`.
    """
    free = shutil.disk_usage(root).free
    if free < limits.min_free_bytes:
        raise StorageFull(
            f"the evidence disk has {free} bytes free, below the limit min_free_bytes",
            field="min_free_bytes",
            expected=f"at least {limits.min_free_bytes}",
            found=str(free),
            cure="zpctl gc deletes old runs",
        )


def _over(field: str, expected: str, found: str, limit: str) -> ConfigError:
    return ConfigError(
        f"{field}: expected {expected}, found {found} (limit {limit}, set by {variable_of(limit)})",
        field=field,
        expected=expected,
        found=found,
    )
