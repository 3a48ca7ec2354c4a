"""`zpctl users`, `keys` and `audit-log` against a service."""

import json
from pathlib import Path

import pytest

from serve.client import Client
from serve.local import LocalService
from tests.serve.cli.running import Result, zpctl

pytestmark = pytest.mark.ray


def told(service: LocalService, *arguments: str) -> Result:
    result = zpctl(*arguments, home=Path(service.home))
    assert result.returncode == 0, result.stderr
    return result


def test_an_account_is_made_used_and_refused(service: LocalService, tmp_path: Path) -> None:
    told(service, "users", "add", "carol", "--role", "operator")
    made = told(service, "keys", "add", "carol", "--label", "t", "--quota", "live_runs=1")
    file = tmp_path / "token"
    file.write_text(made.stdout, encoding="ascii")
    as_carol = ("--url", service.url, "--token-file", str(file))
    assert zpctl(*as_carol, "runs", home=tmp_path).returncode == 0
    refused = zpctl(*as_carol, "users", "list", home=tmp_path)
    assert (refused.returncode, refused.stderr.startswith("error: forbidden")) == (2, True)
    listed = json.loads(told(service, "keys", "list", "--json").stdout)["keys"]
    (key,) = [one for one in listed if one["account"] == "carol"]
    told(service, "keys", "revoke", key["key_id"])
    assert zpctl(*as_carol, "runs", home=tmp_path).returncode == 2
    told(service, "users", "change", "carol", "--disable")
    assert "disabled" in told(service, "users", "list").stdout


def test_a_quota_that_is_none_is_named(service: LocalService) -> None:
    result = zpctl("keys", "add", "x", "--quota", "runs=1", home=Path(service.home))
    assert result.returncode == 2
    assert "expected one of live_runs" in result.stderr


def test_the_journal_of_a_real_service_is_whole_and_anchored(
    service: LocalService, client: Client
) -> None:
    client.add_user("dave")
    seq = client.audit_journal()["last_seq"]
    found = {"last_anchored": 0, "lines": 0}
    while found["last_anchored"] < seq:
        found = json.loads(told(service, "audit-log", "verify", "--json").stdout)
    assert found["lines"] >= seq
    shown = told(service, "audit-log", "show", "--action", "account.").stdout
    assert "dave" in shown
