"""The probe against the real service, which passes, and against a zoo of fakes, all of which fail.

One real service is probed once; what was captured is what the fakes know.
"""

import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from serve.local import LocalService
from serve.probe.contract import Contract
from serve.probe.owners import read as read_owners
from serve.probe.probe import Probe
from serve.probe.report import Report, Verdict
from serve.probe.rules import rules
from tests.fraud.zoo.impostor import TOKEN, Impostor, Server
from tests.fraud.zoo.liars import LIARS, Liar, Replay
from tests.fraud.zoo.loot import Loot
from tests.serve.cli.running import Result, zpctl
from trainers.provenance import describe_code

pytestmark = [pytest.mark.ray, pytest.mark.slow]

AT_ONCE = 4
"""Fakes that are probed at the same time."""

OWNERS = read_owners().names
RULE_IDS = [rule.id for rule in rules()]


@pytest.fixture(scope="module")
def contract() -> Contract:
    return Contract.of_this_checkout()


@pytest.fixture(scope="module")
def evidence_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evidence")


@pytest.fixture(scope="module")
def honest(service: LocalService, data_cache: Path, evidence_root: Path) -> Result:
    """The command against the real service."""
    token = ("--token-file", service.token_file)
    return zpctl(
        "probe",
        service.url,
        *token,
        home=Path(service.home),
        ZEROPOINT_CACHE=str(data_cache),
        EVIDENCE_ROOT=str(evidence_root),
    )


@pytest.fixture(scope="module")
def folder(honest: Result, evidence_root: Path) -> Path:
    """Where the report of the real service is."""
    assert honest.returncode in {0, 1, 4}, honest.stderr
    return evidence_root / "phase1" / "verify" / (describe_code()["commit"] or "unknown")


@pytest.fixture(scope="module")
def loot(folder: Path) -> Loot:
    return Loot(folder)


def probe_of(fake: Impostor, *, contract: Contract, cache: Path, folder: Path) -> Report:
    with Server(fake) as server:
        return Probe(
            url=server.url,
            token=TOKEN,
            contract=contract,
            commit=describe_code()["commit"],
            folder=folder,
            cache=cache,
            draw=secrets.token_hex,
        ).run()


@pytest.fixture(scope="module")
def probed(
    loot: Loot, contract: Contract, data_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Report]:
    """The report of each fake, by its name; most of a probe is waiting for events."""

    def probe(liar: type[Liar]) -> Report:
        folder = tmp_path_factory.getbasetemp() / "zoo" / liar.__name__
        return probe_of(liar(loot), contract=contract, cache=data_cache, folder=folder)

    others = [liar for liar in LIARS if liar is not Replay]
    reports = {Replay.name: probe(Replay)}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return reports | dict(
            zip([liar.name for liar in others], pool.map(probe, others), strict=True)
        )


def failed(report: Report) -> set[str]:
    return {check.id for check in report.failed}


def test_the_real_service_passes(honest: Result, folder: Path) -> None:
    assert honest.returncode == 0, honest.stdout + honest.stderr
    report = Report.model_validate_json((folder / "report.json").read_bytes())
    assert report.verdict is Verdict.PASSED
    assert [check.id for check in report.checks] == RULE_IDS


def test_the_report_names_the_captures_and_holds_no_token(
    service: LocalService, folder: Path, honest: Result
) -> None:
    token = service.token()
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert len(written) > 80
    assert [path for path in written if token.encode() in path.read_bytes()] == []
    assert token not in honest.stdout + honest.stderr
    sent = [json.loads(path.read_bytes()) for path in (folder / "captures").glob("*.json")]
    kept = {one["request"]["headers"].get("authorization") for one in sent}
    assert kept == {None, "[redacted]"}


@pytest.mark.parametrize("liar", LIARS, ids=lambda liar: liar.name)
def test_each_fake_is_found_by_its_check(liar: type[Liar], probed: dict[str, Report]) -> None:
    report = probed[liar.name]
    assert report.verdict is Verdict.FAILED
    assert liar.found_by in failed(report)
    if liar is not Replay:
        assert liar.found_by not in failed(probed[Replay.name]), "the lie is not what was found"
    (check,) = [check for check in report.checks if check.id == liar.found_by]
    assert {one.owner for one in check.discrepancies} <= OWNERS


def test_a_replay_is_found_by_nothing_but_what_its_nonce_decides(
    probed: dict[str, Report],
) -> None:
    assert failed(probed[Replay.name]) == {"pack.asked_for", "model.losses", "model.order"}


def test_the_command_fails_for_a_fake_and_says_whose_it_is(
    loot: Loot, data_cache: Path, tmp_path: Path
) -> None:
    token_file = tmp_path / "token"
    token_file.touch(mode=0o600)
    token_file.write_text(TOKEN, encoding="ascii")
    output = tmp_path / "report"
    with Server(Replay(loot)) as server:
        result = zpctl(
            "probe", server.url, "--token-file", str(token_file), "--output", str(output), "--json",
            home=tmp_path, ZEROPOINT_CACHE=str(data_cache),
        )  # fmt: skip
    assert result.returncode == 1, result.stderr
    told: dict[str, Any] = json.loads(result.stdout)
    nonces = [
        one
        for check in told["checks"]
        for one in check["discrepancies"]
        if one["place"] == "pack/provenance.json"
    ]
    assert {one["owner"] for one in nonces} == {"evidence"}
    markdown = (output / "report.md").read_text(encoding="utf-8")
    assert "| `pack.asked_for` | evidence | `/nonce` | `pack/provenance.json` |" in markdown


def test_the_zoo_has_no_two_of_a_kind() -> None:
    assert len(LIARS) >= 10
    assert len({liar.name for liar in LIARS}) == len(LIARS)
    assert {liar.found_by for liar in LIARS} <= set(RULE_IDS)
