"""The cache keeps what it was given, or says that it does not."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from evidence.errors import DigestMismatch, InvalidInput, NotFound, StorageFull
from petals_bridge.block_cache import BlockCache, BlockId

MODEL = "ab" * 32
ROOT = Path(__file__).resolve().parents[2]


def block(index: int) -> BlockId:
    return BlockId(MODEL, index)


def path_of(cache: BlockCache, index: int) -> Path:
    return cache.root / "blocks" / MODEL / f"{index:03d}.safetensors"


@pytest.fixture
def cache(tmp_path: Path) -> BlockCache:
    return BlockCache(tmp_path / "cache", max_bytes=1_000)


def test_what_was_put_is_loaded(cache: BlockCache) -> None:
    cache.put(block(0), b"weights")
    assert cache.load(block(0)) == b"weights"
    assert cache.indices(MODEL, blocks=3) == {0}


def test_what_was_not_put_is_not_found(cache: BlockCache) -> None:
    with pytest.raises(NotFound):
        cache.load(block(0))


def test_a_flipped_byte_is_found_quarantined_and_fetched_again(tmp_path: Path) -> None:
    told: list[tuple[BlockId, str]] = []
    cache = BlockCache(
        tmp_path / "cache", max_bytes=1_000, quarantined=lambda *one: told.append(one)
    )
    cache.put(block(0), b"weights")
    path_of(cache, 0).write_bytes(b"weighty")
    with pytest.raises(DigestMismatch):
        cache.load(block(0))
    assert not cache.has(block(0))
    assert [one.read_bytes() for one in (cache.root / "quarantine").iterdir()] == [b"weighty"]
    assert [one for one, _ in told] == [block(0)]
    assert cache.load_or_fetch(block(0), lambda: b"weights") == b"weights"
    assert cache.load(block(0)) == b"weights"


def test_what_is_here_is_not_fetched(cache: BlockCache) -> None:
    cache.put(block(0), b"weights")
    assert cache.load_or_fetch(block(0), lambda: pytest.fail("fetched")) == b"weights"


def test_the_least_recently_used_goes_first(cache: BlockCache) -> None:
    for index in (0, 1):
        cache.put(block(index), b"x" * 400)
        os.utime(path_of(cache, index), ns=(index, index))
    cache.load(block(0))
    cache.put(block(2), b"x" * 400)
    assert cache.indices(MODEL, blocks=3) == {0, 2}


def test_a_block_in_use_is_not_evicted(cache: BlockCache) -> None:
    cache.put(block(0), b"x" * 600)
    with cache.pinned(block(0)):
        with pytest.raises(StorageFull, match="beside the blocks in use"):
            cache.put(block(1), b"x" * 600)
        assert cache.indices(MODEL, blocks=2) == {0}
    cache.put(block(1), b"x" * 600)
    assert cache.indices(MODEL, blocks=2) == {1}


HOLD = """
import sys
from pathlib import Path
from petals_bridge.block_cache import BlockCache, BlockId

cache = BlockCache(Path(sys.argv[1]), max_bytes=1000)
cache.pin(BlockId(sys.argv[2], 0))
print(flush=True)
sys.stdin.read()
"""


def test_a_block_that_another_process_uses_is_not_evicted_until_that_is_killed(
    cache: BlockCache,
) -> None:
    cache.put(block(0), b"x" * 600)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, cache.root, MODEL],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(StorageFull):
        cache.put(block(1), b"x" * 600)
    holder.kill()
    holder.communicate()
    cache.put(block(1), b"x" * 600)
    assert cache.indices(MODEL, blocks=2) == {1}


PUT = """
import sys
from pathlib import Path
from petals_bridge.block_cache import BlockCache, BlockId

cache = BlockCache(Path(sys.argv[1]), max_bytes=50_000_000)
print(flush=True)
for turn in range(10**6):
    cache.put(BlockId(sys.argv[2], turn % 4), bytes([turn % 4]) * 1_000_000)
"""


@pytest.mark.slow
def test_kill_9_at_any_point_leaves_whole_blocks_or_none(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    for turn in range(12):
        writer = subprocess.Popen(
            [sys.executable, "-c", PUT, root, MODEL], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(0.003 * (turn + 1))
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        cache = BlockCache(root, max_bytes=50_000_000)
        for index in cache.indices(MODEL, blocks=4):
            assert cache.load(block(index)) == bytes([index]) * 1_000_000
    assert list((root / "quarantine").iterdir()) == []


READ = """
import sys
from pathlib import Path
from evidence.errors import NotFound
from petals_bridge.block_cache import BlockCache, BlockId

cache = BlockCache(Path(sys.argv[1]), max_bytes=1500)
for turn in range(150):
    index = turn % 3
    data = cache.load_or_fetch(BlockId(sys.argv[2], index), lambda: bytes([index]) * 700)
    assert data == bytes([index]) * 700, index
"""


@pytest.mark.slow
def test_two_processes_share_a_cache_that_is_too_small_for_both(tmp_path: Path) -> None:
    readers = [
        subprocess.Popen([sys.executable, "-c", READ, tmp_path / "cache", MODEL], cwd=ROOT)
        for _ in range(2)
    ]
    assert [reader.wait(60) for reader in readers] == [0, 0]
    assert list((tmp_path / "cache" / "quarantine").iterdir()) == []


@pytest.mark.parametrize("one", [BlockId("../" * 20, 0), BlockId(MODEL, -1), BlockId(MODEL, 1000)])
def test_an_id_that_is_none_reaches_no_path(cache: BlockCache, one: BlockId) -> None:
    with pytest.raises(InvalidInput):
        cache.load(one)
    with pytest.raises(InvalidInput):
        cache.put(one, b"x")
