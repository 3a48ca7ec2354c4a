"""Asking the manager from another process, with errors as they are and none of Ray's."""

from collections.abc import Awaitable
from typing import TypeVar

from ray.exceptions import RayActorError, RayTaskError

from evidence.errors import ServiceError, Unavailable

T = TypeVar("T")


async def answer(reference: Awaitable[T], *, who: str = "the manager") -> T:
    """Return what the manager, or another actor, answers.

    Raises:
        ServiceError: What it raised.
        Unavailable: It is being restarted.
    """
    try:
        return await reference
    except RayTaskError as error:
        raise _cause(error) from error
    except RayActorError as error:
        raise _away(who) from error


def _cause(error: RayTaskError) -> Exception:
    return error.cause if isinstance(error.cause, ServiceError) else error


def _away(who: str) -> Unavailable:
    return Unavailable(f"{who} is being restarted", cure="try again in a few seconds")
