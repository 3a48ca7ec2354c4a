"""Settings: every variable there and back, and each wrong value named by its variable."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.settings import (
    Limits,
    Settings,
    as_environment,
    from_environment,
    require_safe_binding,
    variable_of,
)
from evidence.errors import ConfigError

OTHER: dict[str, Any] = {
    "home": Path("/srv/zp"),
    "evidence_root": Path("/srv/evidence"),
    "cache": Path("/srv/cache"),
    "data_path": "/srv/a:/srv/b",
    "phase": "stage2",
    "mocks_disabled": 1,
    "host": "10.0.0.1",
    "port": 8443,
    "tls_certificate": Path("/srv/tls.pem"),
    "tls_key": Path("/srv/tls.key"),
    "trust_tls_proxy": True,
    "allowed_hosts": "train.example,other.example",
    "max_body_bytes": 4096,
    "max_streams": 7,
    "max_stream_bytes": 65536,
    "heartbeat_s": 1.5,
    "send_timeout_s": 2.5,
    "kernel_library": "openblas",
    "session_s": 600,
    "max_sign_ins": 3,
    "approval_days": 7,
    "proposal_file_bytes": 2048,
    "proposal_backups": 2,
    "proposal_backup_every_s": 60,
    "proposal_backup_max_age_s": 600,
    "max_pack_bytes": 8192,
    "canary": 0,
    "witnesses": Path("/srv/witnesses.txt"),
    "policy": Path("/srv/policy.toml"),
}
OTHER_LIMITS: dict[str, Any] = {
    "max_steps": 11,
    "max_batch_size": 12,
    "max_learning_rate": 0.125,
    "max_wall_s": 13,
    "max_run_bytes": 14,
    "min_free_bytes": 15,
    "max_live_runs": 16,
    "max_restarts": 17,
    "architectures": ("mlp", "resnet"),
    "name_pattern": r"[a-z]{1,3}",
}
WRONG = {
    "ZEROPOINT_PHASE": "Not a phase",
    "ZEROPOINT_PORT": "65536",
    "ZEROPOINT_MAX_BODY_BYTES": "0",
    "ZEROPOINT_MAX_STREAMS": "many",
    "ZEROPOINT_MAX_STREAM_BYTES": "4095",
    "ZEROPOINT_HEARTBEAT_S": "0",
    "ZEROPOINT_SEND_TIMEOUT_S": "-1",
    "ZEROPOINT_KERNEL_LIBRARY": "mkl",
    "ZEROPOINT_TRUST_TLS_PROXY": "perhaps",
    "ZEROPOINT_MAX_STEPS": "0",
    "ZEROPOINT_MAX_BATCH_SIZE": "",
    "ZEROPOINT_MAX_LEARNING_RATE": "nan",
    "ZEROPOINT_MAX_WALL_S": "1h",
    "ZEROPOINT_MAX_RUN_BYTES": "8 GiB",
    "ZEROPOINT_MIN_FREE_BYTES": "-1",
    "ZEROPOINT_MAX_LIVE_RUNS": "0",
    "ZEROPOINT_MAX_RESTARTS": "0",
    "ZEROPOINT_NAME_PATTERN": "[a-z",
    "MOCKS_DISABLED": "2",
}


def test_the_samples_cover_every_setting_with_another_value() -> None:
    assert OTHER.keys() == Settings.model_fields.keys() - {"limits"}
    same = {n for n, v in OTHER.items() if getattr(Settings(), n) == v}
    assert same == {"mocks_disabled"}  # there is no other value


def test_the_samples_cover_every_limit_with_another_value() -> None:
    assert OTHER_LIMITS.keys() == Limits.model_fields.keys()
    assert not [n for n, v in OTHER_LIMITS.items() if getattr(Limits(), n) == v]


@pytest.mark.parametrize("name", sorted(OTHER))
def test_each_setting_comes_back_from_its_variable(name: str) -> None:
    environ = as_environment(Settings(**{name: OTHER[name]}))
    assert getattr(from_environment(environ), name) == OTHER[name]


@pytest.mark.parametrize("name", sorted(OTHER_LIMITS))
def test_each_limit_comes_back_from_its_variable(name: str) -> None:
    environ = as_environment(Settings(limits=Limits(**{name: OTHER_LIMITS[name]})))
    assert getattr(from_environment(environ).limits, name) == OTHER_LIMITS[name]


def test_no_two_fields_share_a_variable() -> None:
    fields = [*OTHER, *OTHER_LIMITS]
    assert len({variable_of(name) for name in fields}) == len(fields)


@settings(deadline=None)
@given(port=st.integers(0, 65535), seconds=st.floats(1e-3, 1e6), steps=st.integers(1, 10**9))
def test_values_survive_the_environment_unchanged(port: int, seconds: float, steps: int) -> None:
    before = from_environment(
        as_environment(Settings(port=port, heartbeat_s=seconds, limits=Limits(max_steps=steps)))
    )
    assert from_environment(as_environment(before)) == before


@pytest.mark.parametrize("variable", sorted(WRONG))
def test_a_wrong_value_names_its_variable(variable: str) -> None:
    with pytest.raises(ConfigError, match=f"^{variable}: ") as caught:
        from_environment({variable: WRONG[variable]})
    assert caught.value.field == variable


def test_mocks_cannot_be_enabled() -> None:
    with pytest.raises(ConfigError, match="there is no mock path to enable"):
        from_environment({"MOCKS_DISABLED": "0"})


def test_nothing_set_gives_the_defaults_below_the_home() -> None:
    settings = from_environment({})
    here = Path("var").resolve()
    assert (settings.home, settings.evidence_root, settings.cache) == (
        here,
        here / "evidence",
        here / "cache",
    )


def test_evidence_and_cache_follow_the_home() -> None:
    settings = from_environment({"ZEROPOINT_HOME": "/srv/zp"})
    assert settings.runs_root == Path("/srv/zp/evidence/training")
    assert settings.cache == Path("/srv/zp/cache")


@pytest.mark.parametrize("name", ["home", "evidence_root", "cache", "tls_certificate", "tls_key"])
def test_a_relative_path_becomes_absolute(name: str) -> None:
    settings = from_environment({variable_of(name): "some/where"})
    assert getattr(settings, name) == Path("some/where").resolve()


def test_the_search_path_becomes_absolute() -> None:
    settings = from_environment({"ZEROPOINT_DATA_PATH": f"one{os.pathsep}{os.pathsep}/two"})
    assert settings.search_path == (Path("one").resolve(), Path("/two"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_no_tls(host: str) -> None:
    require_safe_binding(Settings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "::", "train.example"])  # noqa: S104
def test_beyond_loopback_nothing_is_bound_without_tls(host: str) -> None:
    with pytest.raises(ConfigError, match="is not loopback, and there is no TLS"):
        require_safe_binding(Settings(host=host))


def test_a_certificate_without_its_key_is_no_tls() -> None:
    with pytest.raises(ConfigError):
        require_safe_binding(Settings(host="10.0.0.1", tls_certificate=Path("c.pem")))


@pytest.mark.parametrize(
    "tls",
    [{"tls_certificate": Path("c.pem"), "tls_key": Path("k.pem")}, {"trust_tls_proxy": True}],
)
def test_beyond_loopback_tls_is_enough(tls: dict[str, Any]) -> None:
    require_safe_binding(Settings(host="10.0.0.1", **tls))


@pytest.mark.parametrize(
    ("variable", "cure"),
    [
        ("ZEROPOINT_MAX_STEP", "did you mean ZEROPOINT_MAX_STEPS?"),
        ("ZEROPOINT_EVIDENCE_ROOT", "did you mean EVIDENCE_ROOT?"),
        ("ZEROPOINT_XYZZY", "unset ZEROPOINT_XYZZY"),
    ],
)
def test_a_misspelt_setting_is_refused(variable: str, cure: str) -> None:
    with pytest.raises(ConfigError, match=f"{variable}: there is no such setting") as caught:
        from_environment({variable: "1"})
    assert caught.value.cure == cure


def test_what_the_service_tells_its_own_processes_is_no_setting() -> None:
    told = from_environment({"ZEROPOINT_SERVICE_ID": "a1", "ZEROPOINT_ROLE": "trainer"})
    assert told == from_environment({})
