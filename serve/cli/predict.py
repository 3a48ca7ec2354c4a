"""`zpctl predict`: images in, classes out."""

import json as json_format
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from evidence.errors import InvalidInput
from serve.cli import connection, documents, live, options, render, units
from serve.cli.options import ExitCode, JsonOption, RunArgument
from serve.cli.render import Column

_COLUMNS = (Column("IMAGE", is_number=True), Column("CLASS"), Column("PROBABILITY", is_number=True))
_DIMENSIONS = range(2, 5)
"""One image; images, or one with channels; images with channels."""


def predict(
    context: typer.Context,
    run: RunArgument,
    images: Annotated[
        Path, typer.Argument(metavar="IMAGES", help="A .json or .npy file; 0 to 255, H x W each.")
    ],
    *,
    step: Annotated[
        int | None, typer.Option(min=0, help="Checkpoint to use; else the newest.")
    ] = None,
    json: JsonOption = False,
) -> int:
    """Classify images with a checkpoint of a run.

    IMAGES holds a list of images in the size of the run's data set, grey H x W or colour
    C x H x W, integers 0 to 255: nested lists in JSON, or an array.
    """
    given = options.of(context)
    listed = read_images(images)
    with connection.connect(given) as client:
        answer = client.predict(run, listed, step=step)
    if json:
        documents.print_document(given.terminal, answer)
        return ExitCode.GOOD
    rows = [
        [str(number), one["name"], units.percent(max(one["probabilities"]))]
        for number, one in enumerate(answer["predictions"])
    ]
    for line in render.table(live.frame_of(given.terminal), _COLUMNS, rows):
        given.terminal.result(line)
    return ExitCode.GOOD


def read_images(file: Path) -> list[Any]:
    """Return the images of a file as nested lists.

    Raises:
        InvalidInput: It holds no images.
        OSError: It cannot be read.
    """
    if file.suffix == ".npy":
        return _of_array(file)
    try:
        value = json_format.loads(file.read_bytes())
    except ValueError as error:
        raise InvalidInput(f"{file.name}: expected JSON or .npy, found: {error}") from error
    if isinstance(value, dict):
        value = value.get("images")
    if not isinstance(value, list):
        raise InvalidInput(f"{file.name}: expected a list of images")
    return value


def _of_array(file: Path) -> list[Any]:
    try:
        array = np.load(file, allow_pickle=False)
    except ValueError as error:
        raise InvalidInput(f"{file.name}: expected an array, found: {error}") from error
    if array.ndim not in _DIMENSIONS or array.dtype.kind not in "ui":
        found = f"{array.dtype} of shape {array.shape}"
        raise InvalidInput(f"{file.name}: expected integers, N x H x W or more, found {found}")
    listed: list[Any] = (array[None] if array.ndim == min(_DIMENSIONS) else array).tolist()
    return listed
