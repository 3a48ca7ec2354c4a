"""docs/api.md has every route, and its examples run."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from serve import app
from serve.client import Client
from serve.local import LocalService
from tests.docs.tables import DOCS
from tests.governance.proposing import ETHICS

_ROUTE = re.compile(r"`((?:GET|POST|PATCH|DELETE) /[^` ]*)`")
_SETUP = 5
_CONFLICTS = ("/cancel", "/resume")


def _text() -> str:
    return (DOCS / "api.md").read_text(encoding="utf-8")


def _examples() -> list[str]:
    lines = [line.strip() for line in _text().splitlines() if line.startswith("    ")]
    return lines[_SETUP:]


def _table_routes() -> set[str]:
    cells = [line.split("|")[1] for line in _text().splitlines() if line.startswith("| `")]
    return {route for cell in cells for route in _ROUTE.findall(cell)}


def test_the_tables_have_every_route_and_no_other() -> None:
    assert _table_routes() == app.routes()


def test_every_route_has_an_example() -> None:
    calls = "\n".join(_examples()).replace("$RUN", "{run_id}").replace("/60", "/{step}")
    for name in ("mnist", "notes"):
        calls = calls.replace(f"datasets/{name}", "datasets/{name}")
    calls = calls.replace("$AUDIT", "{audit_id}")
    calls = calls.replace("$KEY", "{key_id}").replace("users/alice", "users/{name}")
    calls = calls.replace("$PROPOSAL", "{proposal_id}")
    calls = calls.replace("/entries/000.p/1", "/{path}")
    missing = [
        route
        for route in app.routes()
        if not re.search(rf"\$URL{re.escape(route.split()[1])}(?=[\"?\s]|$)", calls, re.MULTILINE)
    ]
    assert missing == []


@pytest.mark.ray
def test_the_examples_run_as_they_stand(
    service: LocalService, client: Client, tmp_path: Path
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    run_id = _sealed_run(client)
    script = [
        "set -e",
        "curl() { command curl -sS -w '\\nstatus %{http_code}\\n' \"$@\"; }",
        f"URL={service.url}; TOKEN=$(cat {service.token_file})",
        'auth="authorization: Bearer $TOKEN"; json="content-type: application/json"',
        f"RUN={run_id}; AUDIT={client.audit(run_id, windows=1)['audit_id']}; KEY={_key(client)}",
        f"PROPOSAL={_proposal(client, run_id)}",
        *_examples(),
    ]
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",  # a tile is bytes
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    statuses = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("status ")]
    answered = dict(zip(_examples(), statuses, strict=True))
    assert {call: status for call, status in answered.items() if status not in _fits(call)} == {}


def _proposal(client: Client, run_id: str) -> str:
    """Return the id of a proposal of another account than the owner."""
    client.add_user("drafter", role="operator")
    token = client.add_key("drafter", days=1)["token"]
    written = {
        "title": "Train it again", "summary": "The same once more.", "change_type": "patch",
        "from_run": run_id, "ethics": ETHICS,
    }  # fmt: skip
    with Client(client.url, token=token) as drafter:
        return str(drafter.propose(written)["proposal_id"])


def _key(client: Client) -> str:
    client.add_user("docs", role="viewer")
    return str(client.add_key("docs", days=1)["key_id"])


def _fits(call: str) -> set[str]:
    if call.endswith(_CONFLICTS):
        return {"409"}
    return {"200", "503"} if call.endswith("readyz") else {"200"}


def _sealed_run(client: Client) -> str:
    request = {"recipe": "mnist_mlp", "overrides": {"steps": 60}}
    run_id = str(client.submit(request)["run_id"])
    for _ in client.follow(run_id):
        pass
    return run_id
