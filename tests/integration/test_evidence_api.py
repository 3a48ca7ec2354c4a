"""Evidence over HTTP, as an auditor meets it: packs are verified, the log is proved, keys lead."""

import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx
import httpx_sse
import pytest

from evidence import canonical, digest, keyring, seed
from evidence.archive import open_pack
from evidence.inclusion import Inclusion
from evidence.log import merkle, note, tiles, tree_head
from evidence.log.note import Verifier
from evidence.log.proof import InclusionProof
from evidence.signing import unverified_statement, verify_envelope
from evidence.verify import RULES, verify
from serve.client import Client
from serve.local import LocalService
from tests.integration.test_api import UNKNOWN, assert_problem

pytestmark = pytest.mark.ray

REQUEST: dict[str, Any] = {
    "recipe": "mnist_mlp",
    "overrides": {
        "model": {"architecture": "mlp", "hidden": [16]},
        "steps": 30,
        "nonce": "of the client",
    },
}


@pytest.fixture
def http(service: LocalService) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {service.token()}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=120) as one:
        yield one


@pytest.fixture(scope="module")
def run_id(service: LocalService) -> str:
    with Client(service.url, token=service.token()) as client:
        made: str = client.submit(REQUEST)["run_id"]
        assert list(client.follow(made))[-1].data["state"] == "succeeded"
        return made


@pytest.fixture(scope="module")
def pack(service: LocalService, run_id: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("packs") / "pack.zip"
    with Client(service.url, token=service.token()) as client:
        client.download_evidence(run_id, target)
    return target


def events(http: httpx.Client, path: str, **options: Any) -> list[tuple[str, dict[str, Any]]]:
    with httpx_sse.connect_sse(http, "POST", path, **options) as source:
        return [(event.event, event.json()) for event in source.iter_sse()]


def checks(told: list[tuple[str, dict[str, Any]]]) -> dict[str, str]:
    return {data["id"]: data["result"] for kind, data in told if kind == "check"}


def test_a_run_of_this_service_passes_every_check_that_can_be_made(
    http: httpx.Client, run_id: str
) -> None:
    told = events(http, f"/api/training/runs/{run_id}/verify")
    assert [kind for kind, _ in told] == ["check"] * len(RULES) + ["report"]
    unmade = [check for check, result in checks(told).items() if result != "passed"]
    assert unmade == ["log.consistency", "log.witnesses", "log.beginning"]
    assert told[-1][1]["verdict"] == "passed"


def test_a_pack_that_is_sent_is_verified(http: httpx.Client, pack: Path) -> None:
    kind = {"content-type": "application/zip"}
    told = events(http, "/api/verify", content=pack.read_bytes(), headers=kind)
    assert told[-1][1]["verdict"] == "passed"


def test_a_pack_that_was_changed_on_the_way_is_not(
    http: httpx.Client, pack: Path, tmp_path: Path
) -> None:
    spoiled = tmp_path / "spoiled.zip"
    with ZipFile(pack) as held, ZipFile(spoiled, "w") as changed:
        for name in held.namelist():
            data = held.read(name)
            changed.writestr(name, data + b"\n" if name == "loss_curve.csv" else data)
    kind = {"content-type": "application/zip"}
    told = events(http, "/api/verify", content=spoiled.read_bytes(), headers=kind)
    assert checks(told)["files.digests"] == "failed"
    assert told[-1][1]["verdict"] == "failed"


def test_what_is_no_pack_is_a_problem_in_the_stream(http: httpx.Client) -> None:
    kind = {"content-type": "application/zip"}
    told = events(http, "/api/verify", content=b"no zip", headers=kind)
    assert [kind for kind, _ in told] == ["problem"]


def test_a_pack_must_be_a_zip_and_a_run_must_be_there(http: httpx.Client) -> None:
    assert_problem(http.post("/api/verify", json={}), 415, "unsupported_media_type")
    assert_problem(http.post(f"/api/training/runs/{UNKNOWN}/verify"), 404, "not_found")


def test_the_nonce_is_in_the_seed_and_in_the_commitment(pack: Path, run_id: str) -> None:
    with ZipFile(pack) as held:
        provenance = canonical.decode_object(held.read("provenance.json"))
        config = canonical.decode_object(held.read("config.json"))
    assert provenance["run_id"] == run_id
    assert provenance["nonce"] == config["nonce"] == "of the client"


def test_the_log_has_the_records_at_their_places(http: httpx.Client, pack: Path) -> None:
    with ZipFile(pack) as held:
        lines = held.read("records.jsonl").splitlines()
        told = Inclusion.model_validate_json(held.read("seal/inclusion.json"))
    verifier = Verifier.parse(http.get("/api/log").json()["key"])
    head = tree_head.verify(http.get("/api/log/checkpoint").content, verifier).head
    for line, entry in zip(lines, told.entries, strict=False):
        proof = http.get("/api/log/proof/inclusion", params={"index": entry.index}).json()
        merkle.require_included(
            merkle.leaf_hash(line),
            index=entry.index,
            size=proof["size"],
            proof=[note.from_base64(one, what="proof") for one in proof["hashes"]],
            root=head.root,
        )


def test_its_tiles_are_the_tree_that_it_signed(http: httpx.Client) -> None:
    verifier = Verifier.parse(http.get("/api/log").json()["key"])
    head = tree_head.verify(http.get("/api/log/checkpoint").content, verifier).head
    bundles = {
        tile: http.get(f"/api/log/{tile.path}").content
        for tile in tiles.of_size(head.size)
        if tile.level is None
    }
    entries = [
        entry
        for tile, data in sorted(bundles.items(), key=lambda item: item[0].index)
        for entry in tiles.split_bundle(data, name=tile.path)
    ]
    subtree = tiles.subtrees(head.size, lambda tile: http.get(f"/api/log/{tile.path}").content)
    assert len(entries) == head.size
    assert merkle.root(head.size, subtree) == head.root


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/log/tile/0/999", 404, "not_found"),
        # A client makes that the path of a key, which can only be revoked.
        ("/api/log/tile/../../keys/service.key", 405, "method_not_allowed"),
        ("/api/log/tile/0/..%2f..%2fkeys%2fservice.key", 422, "invalid_input"),
        ("/api/log/proof/inclusion?index=999999", 422, "invalid_input"),
        ("/api/log/proof/inclusion?index=-1", 422, "invalid_input"),
        ("/api/log/proof/consistency?old_size=5&size=2", 422, "invalid_input"),
    ],
)
def test_what_the_log_has_not_is_a_problem(
    http: httpx.Client, path: str, status: int, code: str
) -> None:
    assert_problem(http.get(path), status, code)


def test_the_log_only_grew_since_the_pack(http: httpx.Client, pack: Path) -> None:
    verifier = Verifier.parse(http.get("/api/log").json()["key"])
    with ZipFile(pack) as held:
        kept = tree_head.verify(held.read("seal/tree_head.txt"), verifier).head
    head = tree_head.verify(http.get("/api/log/checkpoint").content, verifier).head
    query = {"old_size": kept.size, "size": head.size}
    proof = http.get("/api/log/proof/consistency", params=query).json()
    merkle.require_consistent(
        old_size=kept.size,
        old_root=kept.root,
        size=head.size,
        root=head.root,
        proof=[note.from_base64(one, what="proof") for one in proof["hashes"]],
    )


def test_the_public_keys_lead_to_the_one_that_sealed(http: httpx.Client, pack: Path) -> None:
    answer = http.get("/.well-known/zeropoint/keys", headers={"authorization": ""})
    keys = keyring.read_history(answer.content)
    with open_pack(pack) as held:
        report = verify(held, public_key=keys[0])
    assert report.key_id == keys[-1].key_id
    assert report.exit_code == 0


def test_a_challenge_is_trained_with_the_nonce_of_the_client(
    http: httpx.Client, client: Client, tmp_path: Path
) -> None:
    nonce = secrets.token_hex(16)
    taken = client.challenge("mnist_mlp", nonce=nonce, steps=30)
    assert list(client.follow(taken["run_id"]))[-1].data["state"] == "succeeded"
    lines = http.get(taken["links"]["records"]).content.splitlines()
    said = [unverified_statement(line)["predicate"] for line in lines]
    assert said[0]["nonce"] == nonce
    data = {name: entry["sha256"] for name, entry in _mnist(client).items()}
    assert said[0]["seed"] == seed.derive(client.run(taken["run_id"])["config"], data, nonce)
    assert [one["step"] for one in said[1:]] == sorted(one["step"] for one in said[1:])
    pack = tmp_path / "pack.zip"
    client.download_evidence(taken["run_id"], pack)
    with ZipFile(pack) as held:
        assert held.read("records.jsonl").splitlines() == lines


def _mnist(client: Client) -> dict[str, Any]:
    sets: list[dict[str, Any]] = client.datasets()["datasets"]
    files: dict[str, Any] = next(one for one in sets if one["name"] == "mnist")["files"]
    return files


@pytest.mark.parametrize("nonce", ["short", "x" * 201])
def test_a_nonce_that_could_be_guessed_is_refused(http: httpx.Client, nonce: str) -> None:
    answer = http.post("/api/challenges", json={"recipe": "mnist_mlp", "nonce": nonce})
    assert assert_problem(answer, 422, "invalid_input")["field"] == "nonce"


def test_a_run_is_audited_signed_and_logged(
    http: httpx.Client, client: Client, run_id: str
) -> None:
    asked = client.audit(run_id, windows=1)
    while (view := client.audit_of(asked["audit_id"]))["status"] in ("queued", "running"):
        time.sleep(0.2)
    assert (view["status"], view["report"]["verdict"]) == ("done", "passed"), view
    keys = keyring.read_history(client.keys())
    said = verify_envelope(canonical.encode(view["envelope"]), keys[-1])["predicate"]
    assert said["report_sha256"] == digest.of_record(view["report"])
    entry = canonical.encode(view["envelope"])
    told = client.log_inclusion(view["log_index"], client.log()["size"])
    assert note.to_base64(merkle.leaf_hash(entry)) == told["leaf"]
    alone = InclusionProof.parse(view["proof"].encode())
    alone.verify(entry, Verifier.parse(client.log()["key"]))
    assert alone.index == view["log_index"]
    assert view["audit_id"] in [one["audit_id"] for one in client.audits()["audits"]]
    assert_problem(http.get(f"/api/audits/{UNKNOWN}"), 404, "not_found")


def test_a_run_that_goes_on_cannot_be_audited(http: httpx.Client, client: Client) -> None:
    running = client.submit({"recipe": "mnist_mlp", "overrides": {"steps": 5000}})["run_id"]
    answer = http.post("/api/audits", json={"run_id": running})
    assert_problem(answer, 409, "conflict")
    client.cancel(running)


def test_the_canary_passes_when_nothing_else_runs(client: Client) -> None:
    while (check := client.readiness()["checks"]["canary"])["state"] == "running":
        time.sleep(0.5)
    assert check["state"] == "passed", check
    assert check["true_labels"] - check["shuffled_labels"] > 0.6
