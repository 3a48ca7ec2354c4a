"""A run's first steps, done for nothing: afterwards no kernel is left to search or to compile.

With a search for kernels (`beam`) its choices have to be known before the run describes what it
computes with. The rehearsal is the loop itself, so it meets the kernels of the run and no others.
"""

import gc
from collections import deque

from evidence.records import TrainingEvent
from evidence.schedule import Schedule
from trainers import loop
from trainers.checkpoint import Start
from trainers.config import RunConfig
from trainers.data.load import Data

_STEPS = 3
"""TinyJit runs once, captures, then replays."""


def rehearse(config: RunConfig, data: Data) -> None:
    """Train three steps, evaluate and take a checkpoint; nothing of it stays but the kernels.

    Args:
        config: The run.
        data: Its data set, verified.

    Raises:
        ServiceError: What the loop raises.
    """
    short = {"steps": _STEPS, "checkpoint_every": _STEPS, "schedule": Schedule()}
    forgotten = deque[TrainingEvent](maxlen=0)
    loop.train(config.model_copy(update=short), data, Start.fresh(), forgotten.append)
    gc.collect()  # captured graphs hold weights in cycles
