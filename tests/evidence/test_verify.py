from collections.abc import Callable
from pathlib import Path
from shutil import copy, copytree, move, rmtree
from typing import Any

import pytest

from evidence import canonical, digest
from evidence.archive import FolderPack, zip_chunks
from evidence.errors import ConfigError, IntegrityError, NotInstalled
from evidence.journal import Journal
from evidence.pack import SEAL_ENVELOPE, SEAL_FILES, PackPaths, list_files, write_manifest
from evidence.report import Result, Verdict
from evidence.seal import finalise, seal_pack
from evidence.signing import PublicKey, SigningKey
from evidence.verify import RULES, Verification, planned, run_checks
from tests.evidence import genuine
from tests.evidence.genuine import Run
from tests.evidence.judging import check, failed, judge

SIGNED = range(13, 22)
"""Numbers of the checks that format 1 has nothing for."""

FILES = sorted(
    [
        "config.json",
        "events.jsonl",
        "loss_curve.csv",
        "manifest.json",
        "manifest.sha256",
        "metrics.jsonl",
        "model.json",
        "provenance.json",
        "run.json",
        "tinygrad.jsonl",
        *SEAL_FILES[1],
        *(
            f"checkpoints/step_{step:06d}/{name}.safetensors"
            for step in (2, 4, 6)
            for name in ("model", "optimizer", "state")
        ),
    ]
)


def sealed(root: Path, key: SigningKey, run: Run | None = None) -> Path:
    genuine.write(root, run)
    finalise(root, key, run_id=(run or Run()).run_id)
    return root


def pruning(*, keep_last: int) -> Run:
    return Run(config={**genuine.CONFIG, "keep_last": keep_last})


def test_a_genuine_pack_passes(pack: Path) -> None:
    report = judge(pack)
    assert report.verdict is Verdict.PASSED
    assert report.exit_code == 0
    assert [c.number for c in report.checks if c.result is not Result.PASSED] == [12, *SIGNED]
    assert report.run_id == genuine.RUN_ID


def test_the_list_of_files_in_this_test_is_complete(pack: Path) -> None:
    assert sorted(list_files(pack)) == FILES


@pytest.mark.parametrize("path", FILES)
def test_one_flipped_bit_is_found_in(path: str, pack: Path) -> None:
    original = (pack / path).read_bytes()
    step = max(1, len(original) // 40)
    for offset in [*range(0, len(original), step), len(original) - 1]:
        spoiled = bytearray(original)
        spoiled[offset] ^= 1 << (offset % 8)
        (pack / path).write_bytes(spoiled)
        assert judge(pack).verdict is Verdict.FAILED, offset
    (pack / path).write_bytes(original)
    assert judge(pack).verdict is Verdict.PASSED


@pytest.mark.parametrize("path", [path for path in FILES if path != SEAL_ENVELOPE])
def test_a_missing_file_is_found(path: str, pack: Path) -> None:
    (pack / path).unlink()
    assert judge(pack).verdict is Verdict.FAILED
    assert check(pack, "files.complete").where == path


def test_a_pack_without_its_seal_cannot_be_told(pack: Path) -> None:
    (pack / SEAL_ENVELOPE).unlink()
    report = judge(pack)
    assert report.verdict is Verdict.CANNOT_TELL
    assert report.exit_code == 4
    assert report.checks[2].detail == "the pack is not sealed"


@pytest.mark.parametrize(
    "path", ["notes.txt", "status.json", "seal/extra.json", "checkpoints/step_000002/more.bin"]
)
def test_an_unknown_file_is_found(path: str, pack: Path) -> None:
    (pack / path).write_bytes(b"x")
    assert failed(pack)[0] == "files.complete"
    assert check(pack, "files.complete").where == path


def test_an_empty_folder_is_found(pack: Path) -> None:
    (pack / "foo" / "bar").mkdir(parents=True)
    assert failed(pack) == ["files.complete"]
    found = check(pack, "files.complete")
    assert (found.where, found.found) == ("foo/bar", "an empty folder")


def test_an_unknown_file_cannot_be_sealed(pack: Path, key: SigningKey) -> None:
    (pack / "notes.txt").write_bytes(b"x")
    with pytest.raises(IntegrityError, match=r"unknown files \['notes.txt'\]"):
        finalise(pack, key, run_id=genuine.RUN_ID)


def test_logs_are_not_of_the_pack(pack: Path) -> None:
    (pack / "logs").mkdir()
    (pack / "logs" / "trainer.log").write_bytes(b"x")
    assert judge(pack).verdict is Verdict.PASSED


def test_a_gap_in_the_numbers_is_found(pack: Path) -> None:
    (pack / "seal" / "manifest.dsse.json").unlink()
    lines = [canonical.decode_object(x) for x in (pack / "events.jsonl").read_bytes().splitlines()]
    (pack / "events.jsonl").unlink()
    genesis = digest.of_file(pack / "config.json")
    with Journal(pack / "events.jsonl", genesis=genesis, owns_sequence=False) as events:
        for line in lines:
            events.append({**line, "seq": line["seq"] + (line["seq"] > 5)})
    found = check(pack, "events.chain")
    assert (found.where, found.expected, found.found) == ("events.jsonl, line 6, /seq", "6", "7")


def test_an_empty_journal_is_found(pack: Path) -> None:
    (pack / "events.jsonl").write_bytes(b"")
    assert "events.chain" in failed(pack)


def test_a_metric_that_no_event_told_is_found(pack: Path, key: SigningKey) -> None:
    genesis = digest.of_file(pack / "config.json")
    with Journal(pack / "metrics.jsonl", genesis=genesis, owns_sequence=False) as metrics:
        metrics.append({**genuine.metric("train", 7, 0.1, 1.0, 0.1), "seq": 99})
    finalise(pack, key, run_id=genuine.RUN_ID)
    assert failed(pack) == ["metrics.chain"]
    assert check(pack, "metrics.chain").found == "a line with seq 99"


def test_a_checkpoint_hidden_behind_another_record_is_found(
    tmp_path: Path, key: SigningKey
) -> None:
    root = genuine.write(tmp_path / "pack", pruning(keep_last=2))

    def hide(records: list[dict[str, Any]]) -> None:
        pruned = next(r for r in records if r.get("action") == "pruned")
        pruned["model_digest"] = digest.ZERO

    genuine.rewrite_events(root, hide)
    finalise(root, key, run_id=genuine.RUN_ID)
    assert failed(root) == ["checkpoints.digests"]


def test_a_checkpoint_with_another_state_than_recorded_is_found(
    tmp_path: Path, key: SigningKey
) -> None:
    root = genuine.write(tmp_path / "pack")

    def claim(records: list[dict[str, Any]]) -> None:
        next(r for r in records if r["kind"] == "checkpoint")["optimizer_digest"] = digest.ZERO

    genuine.rewrite_events(root, claim)
    finalise(root, key, run_id=genuine.RUN_ID)
    assert failed(root) == ["checkpoints.digests"]
    assert check(root, "checkpoints.digests").expected == digest.ZERO


def test_metrics_without_model_and_provenance_are_found(pack: Path, key: SigningKey) -> None:
    for name in ("model.json", "provenance.json"):
        (pack / name).unlink()
    finalise(pack, key, run_id=genuine.RUN_ID)
    assert check(pack, "run.story").where == "provenance.json"


def test_swapped_checkpoints_are_found_though_the_manifest_is_resealed(
    pack: Path, key: SigningKey
) -> None:
    folder = PackPaths(pack).checkpoints
    move(folder / "step_000002", folder / "aside")
    move(folder / "step_000004", folder / "step_000002")
    move(folder / "aside", folder / "step_000004")
    finalise(pack, key, run_id=genuine.RUN_ID)
    assert failed(pack) == ["checkpoints.digests"]


def spoil_lines(pack: Path, name: str, change: Callable[[list[bytes]], None]) -> None:
    lines = (pack / name).read_bytes().splitlines(keepends=True)
    change(lines)
    (pack / name).write_bytes(b"".join(lines))


def remove_third(lines: list[bytes]) -> None:
    del lines[2]


def swap_second_and_third(lines: list[bytes]) -> None:
    lines[1], lines[2] = lines[2], lines[1]


def cut_last(lines: list[bytes]) -> None:
    del lines[-1]


@pytest.mark.parametrize("name", ["events.jsonl", "metrics.jsonl"])
@pytest.mark.parametrize("change", [remove_third, swap_second_and_third, cut_last])
def test_lines_cannot_go_or_move_though_the_manifest_is_rewritten(
    name: str, change: Callable[[list[bytes]], None], pack: Path, key: SigningKey
) -> None:
    finalised = sealed_again_after(pack, key, lambda: spoil_lines(pack, name, change))
    assert failed(finalised)[0] in {"events.chain", "metrics.chain", "run.story"}


def sealed_again_after(pack: Path, key: SigningKey, change: Callable[[], object]) -> Path:
    """Spoil journals and write a new manifest and seal over them, without deriving again."""
    change()
    write_manifest(pack, run_id=genuine.RUN_ID)
    seal_pack(pack, key)
    return pack


def test_a_changed_metric_names_line_digests_and_witness(pack: Path, key: SigningKey) -> None:
    def halve(lines: list[bytes]) -> None:
        record = canonical.decode_object(lines[3])
        lines[3] = canonical.encode({**record, "loss": 0.0874}) + b"\n"

    sealed_again_after(pack, key, lambda: spoil_lines(pack, "metrics.jsonl", halve))
    found = check(pack, "metrics.chain")
    assert found.where.startswith("metrics.jsonl, line 4")
    assert "this line has 0.0874" in found.see_too
    assert judge(pack).summary == "FAILED at check 5 of 21"


def test_a_metric_changed_with_its_chain_differs_from_the_event(
    pack: Path, key: SigningKey
) -> None:
    paths = PackPaths(pack)
    kept = paths.events.read_bytes()

    def halve(records: list[dict[str, Any]]) -> None:
        next(r for r in records if r["kind"] == "metric")["loss"] = 0.25

    genuine.rewrite_events(pack, halve)
    paths.events.write_bytes(kept)
    finalise(pack, key, run_id=genuine.RUN_ID)
    found = check(pack, "metrics.chain")
    assert found.where == "metrics.jsonl, line 1, /loss"
    assert found.found == "0.25"
    assert check(pack, "run.learning_rate").detail == "needs check 5"


def test_derived_files_must_follow_from_journals_that_were_rewritten(
    pack: Path, key: SigningKey
) -> None:
    def halve(records: list[dict[str, Any]]) -> None:
        next(r for r in records if r["kind"] == "metric")["loss"] = 0.25

    sealed_again_after(pack, key, lambda: genuine.rewrite_events(pack, halve))
    found = check(pack, "derived.files")
    assert failed(pack) == ["derived.files"]
    assert found.where == "loss_curve.csv, line 2"


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (Run(lr_of=lambda _: 0.25), "run.learning_rate"),
        (Run(stop_after=4), "run.steps"),
        (Run(state="failed"), "run.story"),
    ],
)
def test_a_false_run_is_found_though_the_service_key_signs_it(
    run: Run, expected: str, tmp_path: Path, key: SigningKey
) -> None:
    assert failed(sealed(tmp_path / "pack", key, run)) == [expected]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda r: r.remove(next(e for e in r if e["kind"] == "metric")), "run.steps"),
        (lambda r: r.remove(next(e for e in r if e["kind"] == "checkpoint")), "run.steps"),
        (lambda r: r.remove(next(e for e in r if e.get("split") == "test")), "run.steps"),
        (lambda r: r[0].update(state="running"), "run.story"),
        (lambda r: r[1].update(previous="failed"), "run.story"),
        (lambda r: r[-1].update(state="cancelled"), "run.story"),
        (lambda r: r[5].update(attempt=3), "run.story"),
        (lambda r: [e.update(attempt=7) for e in r[2:]], "run.story"),
        (lambda r: r[2].update(timestamp="9999-99-99T99:99:99.999Z"), "events.chain"),
        (lambda r: r.append({**r[2], "step": 7}), "run.story"),
        (lambda r: r[2].update(accuracy=1.5), "events.chain"),
        (lambda r: r[2].update(surprise=1), "events.chain"),
        (lambda r: r[-1].update(step=5), "run.steps"),
    ],
)
def test_forged_events_are_found_though_all_is_rewritten_and_signed(
    change: Callable[[list[dict[str, Any]]], None], expected: str, tmp_path: Path, key: SigningKey
) -> None:
    root = genuine.write(tmp_path / "pack")
    genuine.rewrite_events(root, change)
    finalise(root, key, run_id=genuine.RUN_ID)
    assert failed(root)[0] == expected


def test_a_file_of_another_run_is_found(tmp_path: Path, pack: Path, key: SigningKey) -> None:
    other = sealed(tmp_path / "other", key, Run(run_id="other", data_seed=2))
    sealed_again_after(pack, key, lambda: copy(other / "provenance.json", pack))
    assert failed(pack)[0] == "run.story"
    assert check(pack, "run.story").where == "provenance.json, /run_id"


def test_a_seed_that_was_chosen_is_found(pack: Path, key: SigningKey) -> None:
    path = pack / "provenance.json"
    forged = {**canonical.decode_object(path.read_bytes()), "seed": "0123456789abcdef"}
    path.write_bytes(canonical.encode(forged))
    finalise(pack, key, run_id=genuine.RUN_ID)
    assert check(pack, "run.story").where == "provenance.json, /seed"


@pytest.mark.parametrize(
    ("field", "value", "where"),
    [
        ("started", "1999-01-01T00:00:00.000Z", "/started"),
        ("started", "2026-01-31T12:00:01.000Z", "/started"),
        ("started", "0001-01-01T00:00:00.000Z", "/started"),
        ("ended", "1998-01-01T00:00:00.000Z", "/ended"),
        ("ended", "2026-01-31T12:00:00.750Z", "/ended"),
        ("ended", "9999-12-31T23:59:59.999Z", "/ended"),
        ("ended", "9999-99-99T99:99:99.999Z", "/ended"),
        ("started", "2026-02-29T12:00:00.000Z", "/started"),
        ("attempts", [{"attempt": 99}], "/attempts"),
        ("attempts", [{"attempt": 1}, {"attempt": 1}], "/attempts"),
        ("attempts", [{"attempt": 1}, {"attempt": 2}], "/attempts"),
    ],
)
def test_a_provenance_that_the_journal_contradicts_is_found(
    field: str, value: Any, where: str, pack: Path, key: SigningKey
) -> None:
    path = pack / "provenance.json"
    forged = {**canonical.decode_object(path.read_bytes()), field: value}
    path.write_bytes(canonical.encode(forged))
    finalise(pack, key, run_id=genuine.RUN_ID)
    assert failed(pack)[0] == "run.story"
    assert check(pack, "run.story").where == f"provenance.json, {where}"


def lose_the_first_attempt(records: list[dict[str, Any]]) -> None:
    for record in records[2:]:
        record["attempt"] = 2
    lost = {"kind": "log", "level": "warning", "name": "trainer_lost", "message": "it died"}
    records.insert(2, {**lost, "attempt": 2, "timestamp": records[1]["timestamp"], "step": None})


@pytest.mark.parametrize(("told", "expected"), [([2], []), ([1, 2], []), ([1], ["run.story"])])
def test_provenance_tells_each_attempt_that_measured(
    told: list[int], expected: list[str], pack: Path, key: SigningKey
) -> None:
    path = pack / "provenance.json"
    attempts = [{"attempt": attempt} for attempt in told]
    forged = {**canonical.decode_object(path.read_bytes()), "attempts": attempts}
    path.write_bytes(canonical.encode(forged))
    genuine.rewrite_events(pack, lose_the_first_attempt)
    finalise(pack, key, run_id=genuine.RUN_ID)
    assert failed(pack) == expected


def test_a_provenance_of_a_run_that_never_ran_is_found(tmp_path: Path, key: SigningKey) -> None:
    root = genuine.write(tmp_path / "pack", Run(state="cancelled"))
    genuine.rewrite_events(root, keep_the_queue)
    for path in root.glob("checkpoints/*"):
        rmtree(path)
    finalise(root, key, run_id=genuine.RUN_ID)
    assert failed(root) == ["run.story"]


def test_a_pack_under_another_run_id_is_found(pack: Path, key: SigningKey) -> None:
    finalise(pack, key, run_id="renamed")
    assert check(pack, "run.story").found == genuine.RUN_ID


def test_other_tensors_than_described_are_found(pack: Path, key: SigningKey) -> None:
    path = pack / "model.json"
    described = canonical.decode_object(path.read_bytes())
    described["tensors"][1]["shape"] = [10, 19]
    path.write_bytes(canonical.encode(described))
    finalise(pack, key, run_id=genuine.RUN_ID)
    assert failed(pack) == ["checkpoints.tensors"]
    assert check(pack, "checkpoints.tensors").found == '"F32 [19, 10]"'


def test_pruned_checkpoints_are_said_and_pass(tmp_path: Path, key: SigningKey) -> None:
    root = sealed(tmp_path / "pack", key, pruning(keep_last=2))
    assert judge(root).verdict is Verdict.PASSED
    assert check(root, "checkpoints.digests").detail == "1 pruned"


def test_a_checkpoint_that_vanishes_without_a_record_is_found(pack: Path, key: SigningKey) -> None:
    rmtree(pack / "checkpoints" / "step_000002")
    finalise(pack, key, run_id=genuine.RUN_ID)
    assert failed(pack) == ["checkpoints.digests"]


def test_a_cancelled_run_passes(tmp_path: Path, key: SigningKey) -> None:
    root = sealed(tmp_path / "pack", key, Run(state="cancelled", stop_after=3))
    assert failed(root) == []
    assert judge(root).verdict is Verdict.PASSED


def keep_the_queue(records: list[dict[str, Any]]) -> None:
    records[1:] = [
        {**records[1], "state": "cancelled", "attempt": 0},
        {**records[-1], "step": 0, "attempt": 0},
    ]


def test_a_run_cancelled_in_the_queue_passes(tmp_path: Path, key: SigningKey) -> None:
    root = genuine.write(tmp_path / "pack", Run(state="cancelled"))
    genuine.rewrite_events(root, keep_the_queue)
    for path in root.glob("checkpoints/*"):
        rmtree(path)
    for path in (root / "model.json", root / "provenance.json"):
        path.unlink()
    finalise(root, key, run_id=genuine.RUN_ID)
    assert judge(root).verdict is Verdict.PASSED


def test_sparse_metrics_pass(tmp_path: Path, key: SigningKey) -> None:
    config = {**genuine.CONFIG, "metric_every": 4}
    assert failed(sealed(tmp_path / "pack", key, Run(config=config))) == []


def test_a_run_that_goes_on_is_checked_and_never_passes(tmp_path: Path) -> None:
    root = genuine.write(tmp_path / "pack")
    with (root / "events.jsonl").open("ab") as file:
        file.write(b'{"torn')
    report = judge(root)
    assert report.verdict is Verdict.CANNOT_TELL
    unmade = [c.number for c in report.checks if c.result is Result.NOT_CHECKED]
    assert unmade == [1, 2, 3, 11, 12, *SIGNED]
    assert not [c for c in report.checks if c.result is Result.FAILED]


def test_another_key_than_the_trusted_one_is_found(pack: Path, tmp_path: Path) -> None:
    stranger = SigningKey.open_or_create(tmp_path / "stranger.key").public
    report = judge(pack, public_key=stranger)
    assert report.checks[2].result is Result.FAILED
    assert report.checks[2].expected == stranger.key_id


def test_the_trusted_key_is_accepted(pack: Path, key: SigningKey) -> None:
    trusted = PublicKey.from_pem(key.public.pem)
    report = judge(pack, public_key=trusted)
    assert report.verdict is Verdict.PASSED
    assert report.key_id == key.key_id


def test_the_model_is_rebuilt_where_that_can_be_done(pack: Path) -> None:
    report = judge(pack, describe_model=lambda _: genuine.MODEL)
    assert report.checks[11].result is Result.PASSED


def test_another_model_than_the_config_describes_is_found(pack: Path) -> None:
    other = {**genuine.MODEL, "architecture": "other"}
    report = judge(pack, describe_model=lambda _: other)
    assert report.checks[11].where == "model.json, /architecture"
    assert report.exit_code == 1


def test_the_model_is_not_checked_where_tinygrad_is_absent(pack: Path) -> None:
    def describe(_: dict[str, Any]) -> dict[str, Any]:
        raise NotInstalled("tinygrad is absent")

    report = judge(pack, describe_model=describe)
    assert report.checks[11].result is Result.NOT_CHECKED
    assert report.checks[11].detail == "tinygrad is absent"


def test_a_config_that_no_trainer_takes_is_found(pack: Path) -> None:
    def describe(_: dict[str, Any]) -> dict[str, Any]:
        raise ConfigError("zzz: expected one of steps, found 'zzz'", field="zzz", found="'zzz'")

    found = judge(pack, describe_model=describe).checks[11]
    assert found.result is Result.FAILED
    assert (found.where, found.found) == ("config.json, zzz", "'zzz'")


def test_a_zip_gives_the_same_checks_as_its_folder(pack: Path, tmp_path: Path) -> None:
    path = tmp_path / "pack.zip"
    path.write_bytes(b"".join(zip_chunks(pack)))
    texts = [
        [(c.id, c.result, c.count, c.detail, c.where) for c in judge(p).checks]
        for p in (path, pack)
    ]
    assert texts[0] == texts[1]


def test_checks_come_one_by_one_in_the_planned_order(pack: Path) -> None:
    checks = run_checks(FolderPack(pack))
    assert next(checks).number == 1
    assert [c.id for c in checks] == [c.id for c in planned()][1:]
    assert {c.result for c in planned()} == {Result.PENDING}


def test_a_verification_reports_what_it_has_shown(pack: Path) -> None:
    verification = Verification(FolderPack(pack))
    shown = list(verification.run())
    assert verification.report().checks == shown


def test_numbers_and_ids_are_unique_and_needs_come_earlier() -> None:
    assert [rule.number for rule in RULES] == list(range(1, len(RULES) + 1))
    assert len({rule.id for rule in RULES}) == len(RULES)
    assert all(need < rule.number for rule in RULES for need in rule.needs)


def test_a_non_finite_loss_is_null_with_a_reason_and_passes(
    tmp_path: Path, key: SigningKey
) -> None:
    root = genuine.write(tmp_path / "pack")

    def lose(records: list[dict[str, Any]]) -> None:
        first = next(r for r in records if r["kind"] == "metric")
        first.update(loss=None, reasons={**first["reasons"], "loss": "not finite"})

    genuine.rewrite_events(root, lose)
    finalise(root, key, run_id=genuine.RUN_ID)
    assert failed(root) == []
    assert b"2,train" in (root / "loss_curve.csv").read_bytes()
    assert b",1,train,," in (root / "loss_curve.csv").read_bytes()


def test_a_pack_that_was_copied_still_passes(pack: Path, tmp_path: Path) -> None:
    assert judge(Path(copytree(pack, tmp_path / "elsewhere"))).verdict is Verdict.PASSED
