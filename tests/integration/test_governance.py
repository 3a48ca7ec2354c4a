"""The worked example of docs/governance.md: propose, review, vote, run, verify; as it is typed."""

import json
from pathlib import Path

import pytest

from governance import policy
from serve.local import LocalService
from tests.conftest import MakeService
from tests.governance.proposing import ETHICS
from tests.serve.cli.running import Result, zpctl

pytestmark = pytest.mark.ray

MOST = 100
"""Steps above which the policy of this service wants a proposal."""


@pytest.fixture(scope="module")
def strict(make_service: MakeService, tmp_path_factory: pytest.TempPathFactory) -> LocalService:
    """A service whose policy wants a proposal for longer runs."""
    home = tmp_path_factory.mktemp("s")
    shipped = policy.SHIPPED.read_text(encoding="utf-8").splitlines()
    lines = [f"above_steps = {MOST}" if "above_steps" in line else line for line in shipped]
    file = home / "policy.toml"
    file.write_text("\n".join(lines), encoding="utf-8")
    return make_service(home, ZEROPOINT_POLICY=str(file))


class Person:
    """Somebody with a key of their own."""

    def __init__(self, service: LocalService, name: str, role: str) -> None:
        owner(service, "users", "add", name, "--role", role)
        self._file = Path(service.home) / f"{name}.token"
        self._file.touch(mode=0o600)
        self._file.write_text(owner(service, "keys", "add", name).stdout, encoding="ascii")
        self._service = service

    def tries(self, *arguments: str) -> Result:
        """Run a command with the own key."""
        to = ("--url", self._service.url, "--token-file", str(self._file))
        return zpctl(*to, *arguments, home=Path(self._service.home))

    def does(self, *arguments: str) -> str:
        """Run a command that succeeds and return what it printed."""
        result = self.tries(*arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def trains(self, **settings: object) -> str:
        """Train with settings and return the run's id."""
        pairs = [part for k, v in settings.items() for part in ("--set", f"{k}={v}")]
        return str(json.loads(self.does("train", "mnist_mlp", *pairs, "--json"))["run_id"])


def owner(service: LocalService, *arguments: str) -> Result:
    result = zpctl(*arguments, home=Path(service.home))
    assert result.returncode == 0, result.stderr
    return result


def test_from_a_policy_that_wants_a_proposal_to_evidence_that_has_the_approval(
    strict: LocalService, tmp_path: Path
) -> None:
    alice, rita = Person(strict, "alice", "operator"), Person(strict, "rita", "reviewer")
    run_id = alice.trains(steps=60)
    refused = alice.tries("train", "mnist_mlp", "--set", "steps=120")
    assert (refused.returncode, "proposal" in refused.stderr) == (2, True)

    draft = json.loads(alice.does("proposals", "draft", run_id))
    draft |= {"title": "Twice as long", "summary": "The run before, for 120 steps."}
    draft |= {"ethics": ETHICS}
    draft["training"]["steps"] = 120
    file = tmp_path / "draft.json"
    file.write_text(json.dumps(draft), encoding="utf-8")
    proposal_id = alice.does("proposals", "submit", str(file)).strip()

    assert "pass by reviewer" in alice.does("proposals", "validate", proposal_id)
    early = alice.tries(
        "train", "mnist_mlp", "--set", "steps=120", "--set", f"approval={proposal_id}"
    )
    assert early.returncode == 2
    own = alice.tries("proposals", "vote", proposal_id, "pass", "--reason", "It is mine.")
    assert (own.returncode, own.stderr.startswith("error: forbidden")) == (2, True)
    rita.does("proposals", "vote", proposal_id, "pass", "--reason", "The run verifies.")
    view = json.loads(alice.does("proposals", "show", proposal_id, "--json"))
    assert view["state"] == "accepted"

    longer = alice.trains(steps=120, approval=proposal_id)
    report = json.loads(owner(strict, "verify", longer, "--json").stdout)
    (check,) = [one for one in report["checks"] if one["id"] == "governance.verdict"]
    assert (check["result"], proposal_id in check["detail"]) == ("passed", True)

    more = alice.tries(
        "train", "mnist_mlp", "--set", "steps=121", "--set", f"approval={proposal_id}"
    )
    assert more.returncode == 2
    assert "approved" in more.stderr or "proposal" in more.stderr
    told = json.loads(owner(strict, "audit-log", "verify", "--json").stdout)
    assert told["last_anchored"] > 0
