"""How the actors of a service find each other: namespace, names, look-up."""

from typing import Any

import ray
from ray.exceptions import RayError

NAMESPACE = "zeropoint"
"""Ray namespace of every named actor of the service."""

MANAGER = "manager"
"""Name of the manager's actor."""

PETALS = "petals"
"""Name of the actor of the Petals bridge."""

HEAD_NODE = "node:__internal_head__"
"""Resource that only the head node has: what needs the service's home takes a little of it."""


def trainer_name(run_id: str, attempt: int) -> str:
    """Return the name of the actor of one attempt, as the Ray dashboard shows it."""
    return f"trainer-{run_id}-{attempt}"


def find_manager() -> Any:
    """Return the manager's actor.

    Raises:
        ValueError: There is none.
    """
    return ray.get_actor(MANAGER, namespace=NAMESPACE)


def find_trainer(run_id: str, attempt: int) -> Any:
    """Return the actor of one attempt, or None if there is none alive."""
    try:
        return ray.get_actor(trainer_name(run_id, attempt), namespace=NAMESPACE)
    except (ValueError, RayError):
        return None
