"""Settings of a service: read once, at the edge, from environment variables.

Each field says its variable, unit and bound. `docs/settings.md` is checked against this file.
"""

import difflib
import os
import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from evidence.errors import ConfigError
from trainers.config import KernelLibrary

PREFIX = "ZEROPOINT_"
_OF_PROCESSES = frozenset({"ZEROPOINT_SERVICE_ID", "ZEROPOINT_ROLE"})
"""Variables that the service gives its own processes; they are no settings."""
_UNPREFIXED = {"evidence_root": "EVIDENCE_ROOT", "mocks_disabled": "MOCKS_DISABLED"}

_OTHER_PATHS = ("home", "tls_certificate", "tls_key", "witnesses", "policy")

Count = Annotated[int, Field(ge=1)]


class Limits(BaseModel):
    """Safety limits that every run is held against, whichever door it came through."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_steps: Count = 10_000
    """Largest number of updates in a run."""
    max_batch_size: Count = 4_096
    """Largest number of samples in an update."""
    max_learning_rate: Annotated[float, Field(gt=0)] = 10.0
    """Largest peak learning rate."""
    max_wall_s: Count = 24 * 3600
    """Longest wall time of a run that its config may ask for, in seconds."""
    max_run_bytes: Count = 8 << 30
    """Most bytes that one run's folder may take."""
    min_free_bytes: Annotated[int, Field(ge=0)] = 512 << 20
    """Free bytes on the evidence disk below which no new run is taken."""
    max_live_runs: Count = 1_000
    """Most runs queued and running together."""
    max_restarts: Count = 100
    """Most restarts of a lost trainer that a config may ask for."""
    architectures: tuple[str, ...] = ("convnet", "gpt", "mlp", "resnet", "vit")
    """Approved model architectures."""
    name_pattern: str = r"[a-z0-9][a-z0-9_.-]{0,63}"
    """Regular expression that a run's name must match as a whole."""

    @field_validator("name_pattern")
    @classmethod
    def _is_an_expression(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"expected a regular expression, {error}") from error
        return value


class Settings(BaseModel):
    """Everything that an operator may set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Path("var")
    """State of the service: keys, token, caches, logs, journal. One service a folder."""
    evidence_root: Path = Path("var/evidence")
    """Where run folders go (variable EVIDENCE_ROOT, without prefix); `evidence` in `home` if it is
    not set."""
    cache: Path = Path("var/cache")
    """Where data sets and compiled kernels are kept; `cache` in `home` if it is not set."""
    data_path: str = ""
    """Folders, separated like PATH, that are searched for data files by SHA-256."""
    phase: Annotated[str, Field(pattern=r"^[a-z0-9._-]{1,32}$")] = "stage1"
    """What health calls the service's phase."""
    mocks_disabled: Annotated[int, Field(ge=0, le=1)] = 1
    """Must be 1 (variable MOCKS_DISABLED): there is no mock path to enable."""
    host: str = "127.0.0.1"
    """Address that HTTP binds. Beyond loopback, TLS and tokens are required."""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Port that HTTP binds; 0 takes a free one (8000 if it is free)."""
    tls_certificate: Path | None = None
    """PEM file with the certificate chain."""
    tls_key: Path | None = None
    """PEM file with the private key."""
    trust_tls_proxy: bool = False
    """Whether a TLS proxy in front of the service is trusted to be there."""
    allowed_hosts: str = ""
    """Further names, separated by commas, that the Host header may carry."""
    max_body_bytes: Count = 1 << 20
    """Largest request body."""
    max_pack_bytes: Count = 4 << 30
    """Largest pack that is taken in to be verified."""
    max_streams: Count = 2_000
    """Most event streams open at once."""
    max_stream_bytes: Annotated[int, Field(ge=4096)] = 1 << 20
    """Bytes that one event stream sends before it ends with `retry:`; the client resumes by id."""
    heartbeat_s: Annotated[float, Field(gt=0)] = 10.0
    """Seconds of silence after which a stream sends a comment."""
    send_timeout_s: Annotated[float, Field(gt=0)] = 20.0
    """Seconds after which a reader that takes no byte is disconnected."""
    kernel_library: KernelLibrary = "auto"
    """What products and convolutions of trainers on a CPU go through."""
    canary: Annotated[int, Field(ge=0, le=1)] = 1
    """Whether the canary is done at a start where it is not known: two small runs, one of them on
    shuffled labels."""
    witnesses: Path | None = None
    """File with a line `VERIFIER_KEY URL` for each witness that is asked to cosign the log."""
    policy: Path | None = None
    """TOML file with the data policy; the shipped one (governance/policy.toml) if it is not set."""
    session_s: Annotated[int, Field(ge=60, le=30 * 86400)] = 12 * 3600
    """Seconds after which a browser has to sign in again."""
    max_sign_ins: Count = 10
    """Attempts to sign in that may fail from one address within a minute."""
    approval_days: Annotated[int, Field(ge=1, le=3650)] = 30
    """Days for which an accepted proposal allows what it is about."""
    proposal_file_bytes: Annotated[int, Field(ge=1024)] = 4 << 20
    """Size of the file of proposals from which on another one is begun."""
    proposal_backups: Count = 10
    """Copies of a file of proposals that are kept."""
    proposal_backup_every_s: Annotated[int, Field(ge=0)] = 3600
    """Age of the newest copy from which on the next record makes another."""
    proposal_backup_max_age_s: Annotated[int, Field(ge=1)] = 30 * 86400
    """Age from which on a copy is deleted; the newest of each file stays."""
    limits: Limits = Limits()

    @property
    def is_loopback(self) -> bool:
        """Whether HTTP binds a loopback address only."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def search_path(self) -> tuple[Path, ...]:
        """The folders of `data_path`."""
        return tuple(Path(part) for part in self.data_path.split(os.pathsep) if part)

    @property
    def runs_root(self) -> Path:
        """Folder of the run folders."""
        return self.evidence_root / "training"


def variable_of(field: str) -> str:
    """Return the environment variable of a field of Settings or Limits."""
    return _UNPREFIXED.get(field, PREFIX + field.upper())


def from_environment(environ: Mapping[str, str]) -> Settings:
    """Read the settings; paths become absolute, so that every process means the same files.

    Raises:
        ConfigError: A variable has a wrong value, or is unknown; the variable is named.
    """
    _require_known(environ)
    own = {name: environ.get(variable_of(name)) for name in Settings.model_fields}
    limits = {name: environ.get(variable_of(name)) for name in Limits.model_fields}
    values: dict[str, Any] = {name: value for name, value in own.items() if value is not None}
    values["limits"] = {
        name: tuple(value.split(",")) if name == "architectures" else value
        for name, value in limits.items()
        if value is not None
    }
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = variable_of(str(first["loc"][-1]))
        raise ConfigError(
            f"{name}: {first['msg'].lower()}, found {first['input']!r}", field=name
        ) from error
    _require_no_mocks(settings)
    below_home = {"evidence_root": "evidence", "cache": "cache"}
    absolute: dict[str, Path | None] = {
        name: Path(values[name]) if name in values else settings.home / folder
        for name, folder in below_home.items()
    }
    absolute |= {name: getattr(settings, name) for name in _OTHER_PATHS}
    paths = {name: path.resolve() for name, path in absolute.items() if path is not None}
    search_path = os.pathsep.join(str(path.resolve()) for path in settings.search_path)
    return settings.model_copy(update={**paths, "data_path": search_path})


def as_environment(settings: Settings) -> dict[str, str]:
    """Return the variables that give these settings again; for the processes of a service."""
    plain = settings.model_dump(mode="json")
    limits = plain.pop("limits")
    limits["architectures"] = ",".join(limits["architectures"])
    merged = {**plain, **limits}
    return {variable_of(name): str(value) for name, value in merged.items() if value is not None}


def _require_known(environ: Mapping[str, str]) -> None:
    """Refuse a misspelt setting, which would otherwise leave the default in force unseen."""
    fields = [*Settings.model_fields, *Limits.model_fields]
    known = {variable_of(field) for field in fields if field != "limits"}
    for name in sorted(environ.keys() - known - _OF_PROCESSES):
        if name.startswith(PREFIX):
            meant = difflib.get_close_matches(name.removeprefix(PREFIX).lower(), fields, n=1)
            raise ConfigError(
                f"{name}: there is no such setting; docs/settings.md lists them",
                field=name,
                found=name,
                cure=f"did you mean {variable_of(meant[0])}?" if meant else f"unset {name}",
            )


def _require_no_mocks(settings: Settings) -> None:
    if settings.mocks_disabled != 1:
        raise ConfigError(
            "MOCKS_DISABLED: expected 1, found 0; there is no mock path to enable",
            field="MOCKS_DISABLED",
            expected="1",
            found="0",
            cure="unset MOCKS_DISABLED",
        )


def require_safe_binding(settings: Settings) -> None:
    """Refuse to bind beyond loopback without TLS.

    Raises:
        ConfigError: `host` is not loopback and neither a certificate nor a trusted proxy is set.
    """
    has_certificate = settings.tls_certificate is not None and settings.tls_key is not None
    if settings.is_loopback or has_certificate or settings.trust_tls_proxy:
        return
    raise ConfigError(
        f"{variable_of('host')}: {settings.host} is not loopback, and there is no TLS",
        field=variable_of("host"),
        expected="a loopback address, or TLS",
        found=settings.host,
        cure=f"set {variable_of('tls_certificate')} and {variable_of('tls_key')}, or "
        f"{variable_of('trust_tls_proxy')}=1 behind a TLS proxy",
    )
