"""Classifying images with a checkpoint, in a Ray task: the manager never runs tinygrad."""

import os
from typing import Any

import numpy as np
import ray

from cluster.settings import from_environment
from evidence.errors import InvalidInput, ServiceError
from trainers import runtime
from trainers.config import RunConfig
from trainers.data.catalog import ImageSet

_NDIM_WITHOUT_CHANNEL = 3
_MAX_PIXEL = 255


@ray.remote(num_cpus=0, max_retries=0)
def classify(config: dict[str, Any], model: bytes, images: np.ndarray) -> list[dict[str, Any]]:
    """Return class and probabilities of each image.

    Args:
        config: The run's config, as JSON.
        model: A model.safetensors whose digest was checked.
        images: uint8, (N, C, H, W), 0 to 255.
    """
    settings = from_environment(os.environ)
    runtime.prepare_process(
        device="CPU", cache=settings.cache, threads=1, library=settings.kernel_library
    )
    # tinygrad reads the environment when it is imported, so it comes after that line.
    from trainers.predict import predict  # noqa: PLC0415

    predictions = predict(RunConfig.model_validate(config), model, images)
    return [
        {
            "label": prediction.label,
            "name": prediction.name,
            "probabilities": list(prediction.probabilities),
        }
        for prediction in predictions
    ]


def as_images(values: list[Any], config: RunConfig) -> np.ndarray:
    """Return images of a data set's size as uint8, (N, C, H, W).

    Args:
        values: Nested lists, each image H x W (one channel) or C x H x W, of integers 0 to 255.
        config: The run that the model is of.

    Raises:
        InvalidInput: Another shape, or a value that is no integer from 0 to 255.
    """
    entry, dataset = config.entry, config.dataset
    if not isinstance(entry, ImageSet):
        raise InvalidInput(
            f"images: this run's model reads {dataset}, a text; only images are classified",
            field="images",
            expected="a run on images",
            found=dataset,
        )
    shape = entry.image_shape
    try:
        images = np.array(values)
    except ValueError as error:
        raise _not_images(shape, "lists of unequal length") from error
    if images.dtype.kind not in "iu":
        raise _not_images(shape, f"values of type {images.dtype}")
    if images.ndim == _NDIM_WITHOUT_CHANNEL and shape[0] == 1:
        images = images[:, None]
    if images.shape[1:] != shape:
        raise _not_images(shape, f"shape {list(images.shape[1:])}")
    if images.min() < 0 or images.max() > _MAX_PIXEL:
        raise _not_images(shape, f"values from {images.min()} to {images.max()}")
    return images.astype(np.uint8)


def _not_images(shape: tuple[int, ...], found: str) -> InvalidInput:
    expected = f"integers 0 to 255 of shape {list(shape)} each"
    return InvalidInput(
        f"images: expected {expected}, found {found}",
        field="images",
        expected=expected,
        found=found,
    )


async def classify_on_cluster(
    config: RunConfig, model: bytes, images: np.ndarray
) -> list[dict[str, Any]]:
    """Run `classify` on the cluster and return its answer.

    Raises:
        ServiceError: What it raised.
    """
    task = classify.options(runtime_env={"env_vars": {"ZEROPOINT_ROLE": "predictor"}})
    try:
        answer: list[dict[str, Any]] = await task.remote(
            config.model_dump(mode="json"), model, images
        )
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ServiceError):
            raise error.cause from error
        raise
    return answer
