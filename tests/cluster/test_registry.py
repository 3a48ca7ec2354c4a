"""The index of runs: keys, order, recovery after kills at bad moments, deletion."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cluster.audit import STATUS, AuditJournal
from cluster.registry import Registry
from cluster.run_folder import RunFolder
from cluster.sealing import seal_run
from evidence import canonical, digest
from evidence.errors import Conflict, IntegrityError, NotFound, StorageFull
from evidence.records import RunState
from tests.cluster import small
from tests.cluster.small import Watch
from tests.evidence.disks import small_disk

Open = Callable[[], Registry]


def close(registry: Registry) -> None:
    """End a registry as a kill would, but for the open files."""
    for folder in [*registry._live.values(), *registry._sealed.values()]:
        folder.close()
    registry._audit.close()


@pytest.fixture
def again(tmp_path: Path) -> Iterator[Open]:
    """Open the registry of the test's folder; the one before is ended first."""
    with ExitStack() as opened:

        def open_it() -> Registry:
            opened.pop_all().close()
            audit = AuditJournal(tmp_path / "audit.jsonl", clock=Watch())
            registry = Registry(
                tmp_path / "runs", audit, clock=Watch(), notary=small.notary(tmp_path / "runs")
            )
            opened.callback(close, registry)
            return registry

        yield open_it


def make(registry: Registry, *, key: str | None = None, name: str = "run") -> RunFolder:
    return registry.create(small.config(name=name), who="api", idempotency_key=key)


def end(registry: Registry, folder: RunFolder) -> None:
    folder.move(RunState.CANCELLED, "a test")
    registry.moved(folder, who="api")
    folder.complete_end()
    seal_run(folder, small.notary(folder.paths.root.parent))
    registry.sealed(folder)


def statuses(registry: Registry) -> list[tuple[str, str | None]]:
    lines = [canonical.decode_object(line) for line in registry._audit]
    return [(one["state"], one["previous"]) for one in lines if one["action"] == STATUS]


# -- keys ----------------------------------------------------------------------------------------


def test_the_same_key_and_config_find_the_same_run(again: Open) -> None:
    registry = again()
    made = make(registry, key="k")
    assert registry.of_key("k", small.config()) is made


def test_the_same_key_with_another_config_is_refused(again: Open) -> None:
    registry = again()
    made = make(registry, key="k")
    with pytest.raises(Conflict, match=f"used for run {made.run_id} with another config"):
        registry.of_key("k", small.config(steps=9))


def test_a_key_is_remembered_over_a_restart(again: Open) -> None:
    made = make(again(), key="k").run_id
    found = again().of_key("k", small.config())
    assert found is not None
    assert found.run_id == made


def test_a_key_with_another_config_is_refused_after_a_restart(again: Open) -> None:
    make(again(), key="k")
    registry = again()
    with pytest.raises(Conflict):
        registry.of_key("k", small.config(steps=9))


def test_without_a_key_nothing_is_found(again: Open) -> None:
    registry = again()
    make(registry)
    assert registry.of_key(None, small.config()) is None


def test_the_key_itself_is_not_on_disk(again: Open, tmp_path: Path) -> None:
    make(again(), key="a-secret-of-the-client")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if b"a-secret-of-the-client" in path.read_bytes()]


# -- recovery ------------------------------------------------------------------------------------


def test_a_folder_that_a_kill_kept_out_of_the_journal_is_taken_in(
    again: Open, tmp_path: Path
) -> None:
    made = make(again(), key="k").run_id
    (tmp_path / "audit.jsonl").unlink()
    registry = again()
    assert registry.folder(made).config == small.config()
    assert statuses(registry) == [("queued", None)]


def test_a_key_that_a_kill_kept_out_of_the_journal_is_known(again: Open, tmp_path: Path) -> None:
    make(again(), key="k")
    (tmp_path / "audit.jsonl").unlink()
    assert again().of_key("k", small.config()) is not None


def test_a_move_that_a_kill_kept_out_of_the_journal_is_added(again: Open) -> None:
    folder = make(again())
    folder.move(RunState.RUNNING, "placed", placement=small.PLACED)
    registry = again()
    assert registry.count()[RunState.RUNNING] == 1
    assert statuses(registry) == [("queued", None), ("running", "queued")]


def test_what_was_being_built_is_removed(again: Open, tmp_path: Path) -> None:
    (tmp_path / "runs" / ".building-7f3a91c20b1d" / "checkpoints").mkdir(parents=True)
    again()
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_run_whose_folder_is_gone_is_forgotten(again: Open, tmp_path: Path) -> None:
    made = make(again()).run_id
    (tmp_path / "runs" / made).rename(tmp_path / "elsewhere")
    registry = again()
    with pytest.raises(NotFound):
        registry.folder(made)


def test_a_restart_changes_nothing_that_readers_see(again: Open) -> None:
    registry = again()
    names = ["one", "two", "three"]
    for name in names:
        make(registry, name=name)
    end(registry, registry.page(state=None, offset=1, limit=1)[0][0])
    before = [(f.run_id, f.summary.state) for f in registry.page(state=None, offset=0, limit=9)[0]]
    folders = again().page(state=None, offset=0, limit=9)[0]
    assert [(folder.run_id, folder.summary.state) for folder in folders] == before


@pytest.mark.parametrize("torn", [True, False])
def test_a_final_run_that_was_not_sealed_is_mended_and_to_be_sealed(
    again: Open, *, torn: bool
) -> None:
    registry = again()
    folder = make(registry)
    folder.move(RunState.CANCELLED, "a test")
    registry.moved(folder, who="api")
    with folder.paths.events.open("ab") as file:
        file.write(b'{"half' * torn)
    unsealed = again().unsealed()
    assert [found.run_id for found in unsealed] == [folder.run_id]
    unsealed[0].complete_end()
    assert unsealed[0].summary.has_ended


def test_a_sealed_run_is_not_to_be_sealed(again: Open) -> None:
    registry = again()
    end(registry, make(registry))
    assert registry.unsealed() == []
    assert again().unsealed() == []


def test_a_run_that_the_journal_has_no_space_for_is_not_made(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        audit = AuditJournal(disk / "audit.jsonl", clock=Watch())
        registry = Registry(
            tmp_path / "runs", audit, clock=Watch(), notary=small.notary(tmp_path / "runs")
        )
        small.fill(disk)
        with pytest.raises(StorageFull):
            make(registry, key="k")
        assert registry.page(state=None, offset=0, limit=9) == ([], 0)
        close(registry)
    assert list((tmp_path / "runs").iterdir()) == []


# -- lists ---------------------------------------------------------------------------------------


def test_runs_are_listed_newest_first_page_by_page(again: Open) -> None:
    registry = again()
    for number in range(5):
        make(registry, name=f"run{number}")
    pages = [registry.page(state=None, offset=offset, limit=2) for offset in (0, 2, 4, 6)]
    names = [[folder.config.name for folder in folders] for folders, _ in pages]
    assert names == [["run4", "run3"], ["run2", "run1"], ["run0"], []]
    assert {total for _, total in pages} == {5}


def test_a_list_can_be_of_one_state(again: Open) -> None:
    registry = again()
    make(registry, name="waits")
    end(registry, make(registry, name="ended"))
    folders, total = registry.page(state=RunState.CANCELLED, offset=0, limit=9)
    assert ([folder.config.name for folder in folders], total) == (["ended"], 1)


def test_states_are_counted(again: Open) -> None:
    registry = again()
    make(registry)
    end(registry, make(registry))
    counts = registry.count()
    assert {state: count for state, count in counts.items() if count} == {
        RunState.QUEUED: 1,
        RunState.CANCELLED: 1,
    }


@pytest.fixture
def many(again: Open, tmp_path: Path) -> Registry:
    """2,000 sealed runs, all with the folder of one."""
    registry = again()
    first = make(registry)
    end(registry, first)
    for number in range(1999):
        run_id = f"{number:012x}"
        (tmp_path / "runs" / run_id).symlink_to(first.paths.root)
        for state, previous in (("queued", None), ("cancelled", "queued")):
            registry._audit.append(
                STATUS,
                who="api",
                run_id=run_id,
                state=state,
                previous=previous,
                config_sha256=digest.of_bytes(first.config_bytes),
            )
    return again()


def test_a_restart_with_2000_sealed_runs_opens_none(many: Registry) -> None:
    assert many.count()[RunState.CANCELLED] == 2000
    assert len(many._live) + len(many._sealed) == 0


def test_a_page_of_2000_runs_opens_that_page(many: Registry) -> None:
    folders, total = many.page(state=RunState.CANCELLED, offset=1000, limit=20)
    assert (len(folders), total) == (20, 2000)
    assert len(many._live) + len(many._sealed) == 20


def test_only_so_many_sealed_folders_stay_open(many: Registry) -> None:
    many.page(state=None, offset=0, limit=100)
    assert len(many._sealed) == 64


# -- deletion ------------------------------------------------------------------------------------


def test_a_deleted_run_leaves_a_tombstone_with_the_digest_of_its_manifest(again: Open) -> None:
    registry = again()
    folder = make(registry)
    end(registry, folder)
    manifest = digest.of_file(folder.paths.manifest)
    tombstone = registry.delete(folder.run_id, who="api", reason="keep_runs = 0")
    assert tombstone == {
        "run_id": folder.run_id,
        "manifest_sha256": manifest,
        "reason": "keep_runs = 0",
    }


@pytest.mark.parametrize("restarts", [0, 1, 2])
def test_a_deleted_run_is_not_found_and_the_reason_is_said(again: Open, restarts: int) -> None:
    registry = again()
    folder = make(registry)
    end(registry, folder)
    manifest = digest.of_file(folder.paths.manifest)
    registry.delete(folder.run_id, who="api", reason="keep_runs = 0")
    for _ in range(restarts):
        registry = again()
    with pytest.raises(NotFound, match=rf"was deleted \(keep_runs = 0\).*{manifest}"):
        registry.folder(folder.run_id)


def test_a_deleted_run_is_not_listed(again: Open) -> None:
    registry = again()
    folder = make(registry)
    end(registry, folder)
    registry.delete(folder.run_id, who="api", reason="a test")
    assert registry.page(state=None, offset=0, limit=9) == ([], 0)
    assert not folder.paths.root.exists()


def test_a_deletion_that_a_kill_cut_short_is_finished(again: Open, tmp_path: Path) -> None:
    registry = again()
    folder = make(registry)
    end(registry, folder)
    registry.delete(folder.run_id, who="api", reason="a test")
    (folder.paths.root / "checkpoints").mkdir(parents=True)
    again()
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_run_that_is_queued_is_not_deleted(again: Open) -> None:
    registry = again()
    folder = make(registry)
    with pytest.raises(Conflict, match="cancel it first"):
        registry.delete(folder.run_id, who="api", reason="a test")


def test_an_unknown_run_is_named(again: Open) -> None:
    registry = again()
    with pytest.raises(NotFound, match="there is no run 000000000000"):
        registry.folder("000000000000")


def damage(folder: RunFolder) -> None:
    data = folder.paths.events.read_bytes()
    folder.paths.events.write_bytes(data.replace(b'"state":"queued"', b'"state":"Queued"', 1))


@pytest.mark.parametrize("is_sealed", [False, True])
def test_a_damaged_run_is_set_aside_and_the_others_go_on(again: Open, *, is_sealed: bool) -> None:
    registry = again()
    broken, whole = make(registry, name="broken"), make(registry, name="whole")
    if is_sealed:
        end(registry, broken)
    else:
        broken.log("noted", "so that another line follows the damaged one")
    damage(broken)
    registry = again()
    runs, _ = registry.page(state=None, offset=0, limit=10)
    assert [folder.run_id for folder in runs] == [whole.run_id]
    with pytest.raises(IntegrityError):
        registry.folder(broken.run_id)
    assert broken.paths.events.exists()
    assert b'"run.damaged"' in b"".join(registry._audit)


def a_stray_folder(root: Path, _: RunFolder) -> None:
    (root / "backup").mkdir()


def a_stray_file(root: Path, _: RunFolder) -> None:
    (root / "notes.txt").write_text("mine")


def a_folder_that_is_called_like_a_run(root: Path, _: RunFolder) -> None:
    (root / "0123456789ab").mkdir()


def a_file_among_the_checkpoints(_: Path, folder: RunFolder) -> None:
    (folder.paths.checkpoints / "stray").write_text("mine")


def an_empty_config(_: Path, folder: RunFolder) -> None:
    folder.paths.config.write_bytes(b"")


def a_config_of_another_format(_: Path, folder: RunFolder) -> None:
    folder.paths.config.write_bytes(b'{"v":99}')


def no_folder(_: Path, folder: RunFolder) -> None:
    shutil.rmtree(folder.paths.root)


STRAYS = (
    a_stray_folder, a_stray_file, a_folder_that_is_called_like_a_run, a_file_among_the_checkpoints,
    an_empty_config, a_config_of_another_format, no_folder,
)  # fmt: skip


@pytest.mark.parametrize("is_sealed", [False, True])
@pytest.mark.parametrize("happens_while_closed", [False, True])
@pytest.mark.parametrize("spoil", STRAYS)
def test_a_stray_or_missing_thing_stops_nobody_else(
    tmp_path: Path,
    again: Open,
    spoil: Callable[[Path, RunFolder], None],
    *,
    happens_while_closed: bool,
    is_sealed: bool,
) -> None:
    registry = again()
    spoilt, whole = make(registry, name="spoilt"), make(registry, name="whole")
    if is_sealed:
        end(registry, spoilt)
    if happens_while_closed:
        spoil(tmp_path / "runs", spoilt)
    registry = again()
    if not happens_while_closed:
        spoil(tmp_path / "runs", spoilt)
    runs, _ = registry.page(state=None, offset=0, limit=10)
    assert whole.run_id in [folder.run_id for folder in runs]
    assert set(registry.in_state(*RunState)) <= {*runs}
    registry = again()
    assert registry.folder(whole.run_id).run_id == whole.run_id
