"""Downloads from a publisher: resumed where they broke off, capped in size, whole or not there."""

import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Callable, Collection
from pathlib import Path

import httpx

from evidence.errors import IntegrityError, TooLarge, Unavailable
from trainers.data.catalog import Archive

Progress = Callable[[str, int, int | None], None]
"""Takes a file name, the bytes there so far, and the bytes expected (None if unknown)."""

_ATTEMPTS = 4


def download(archive: Archive, *, client: httpx.Client, folder: Path, progress: Progress) -> Path:
    """Bring one archive into `folder` and return its path there.

    What broke off stays as `NAME.part` and is gone on with, now and by the next call. The bytes are
    not verified here: the raw files inside are.

    Args:
        archive: Address and published size; twice that size is refused.
        client: Does the request; its time-outs count.
        folder: Where to put it.
        progress: Told after every piece.

    Raises:
        Unavailable: No connection, another status than success, or it broke off again and again.
        TooLarge: The server sends more than twice the published size.
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = archive.url.rsplit("/", 1)[1]
    target, part = folder / name, folder / f"{name}.part"
    if target.is_file():
        return target
    failure: httpx.HTTPError | None = None
    for _ in range(_ATTEMPTS):
        before = part.stat().st_size if part.exists() else 0
        try:
            _go_on(archive, client=client, part=part, progress=progress)
        except httpx.HTTPError as error:
            failure = error
            if part.exists() and part.stat().st_size > before:
                continue
            break
        part.replace(target)
        return target
    raise Unavailable(f"{archive.url}: {type(failure).__name__}: {failure}") from failure


def _go_on(archive: Archive, *, client: httpx.Client, part: Path, progress: Progress) -> None:
    """Append to `part` what it lacks; a server that ignores the range starts it over."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with client.stream("GET", archive.url, headers=headers) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink()
            raise httpx.ReadError("the part was longer than the file; starting over")
        response.raise_for_status()
        start = _range_start(response)
        mode = "ab" if start == have else "wb"
        have = have if start == have else 0
        length = response.headers.get("content-length", "")
        total = have + int(length) if length.isdecimal() else None
        with part.open(mode) as file:
            for piece in response.iter_raw():
                have += file.write(piece)
                if have > 2 * archive.bytes:
                    raise TooLarge(
                        f"{archive.url}: expected {archive.bytes} bytes, found more than {have}"
                    )
                progress(part.stem, have, total)


def _range_start(response: httpx.Response) -> int:
    """Return the offset of the first byte sent."""
    if response.status_code != httpx.codes.PARTIAL_CONTENT:
        return 0
    match = re.match(r"bytes (\d+)-", response.headers.get("content-range", ""))
    return int(match[1]) if match else -1


def raw_files(path: Path, archive: Archive, *, sizes: dict[str, int]) -> dict[str, bytes]:
    """Return the raw files inside a downloaded archive, by name.

    Args:
        path: The archive.
        archive: Its format.
        sizes: Name and size of each raw file of the data set; nothing larger is unpacked.

    Raises:
        IntegrityError: It is torn, or no archive of that format.
        OSError: It cannot be read.
    """
    try:
        if archive.format == "raw":
            with path.open("rb") as file:
                return {path.name: file.read(sizes[path.name] + 1)}
        if archive.format == "gzip":
            name = path.name.removesuffix(".gz")
            with gzip.open(path) as file:
                return {name: file.read(sizes[name] + 1)}
        with tarfile.open(path, "r:gz") as members:
            return named_members(members, sizes=sizes)
    except (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError) as error:
        raise IntegrityError(f"{path.name}: expected a whole archive, found: {error}") from error


def named_members(members: tarfile.TarFile, *, sizes: dict[str, int]) -> dict[str, bytes]:
    """Return the regular files of an archive whose base name is in `sizes`.

    Nothing is written to the disk, so no member's path can lead anywhere. At most one byte more
    than the known size is read.
    """
    result = {}
    for member in members:
        name = member.name.rsplit("/", 1)[-1]
        file = members.extractfile(member) if member.isreg() and name in sizes else None
        if file is not None:
            result[name] = file.read(sizes[name] + 1)
    return result


def unpack_tar(data: bytes, *, sizes: dict[str, int]) -> dict[str, bytes]:
    """Return the wanted members of a .tgz given as bytes; see `named_members`.

    Raises:
        IntegrityError: It is torn, or no archive.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as members:
            return named_members(members, sizes=sizes)
    except (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError) as error:
        raise IntegrityError(f"expected a whole .tgz archive, found: {error}") from error


def forget(archives: Collection[Archive], *, folder: Path) -> None:
    """Delete downloaded archives, whole ones only: what they held is in the cache or was wrong."""
    for archive in archives:
        (folder / archive.url.rsplit("/", 1)[1]).unlink(missing_ok=True)
