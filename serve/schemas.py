"""Wire schemas: what requests and responses of the API look like, for OpenAPI and for clients."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cluster.run_table import SortKey
from evidence.records import Fault, Placement, RunState
from evidence.report import Check, Verdict
from trainers.config import RunConfig


class Wire(BaseModel):
    """A part of a request or response; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class RecipeRequest(Wire):
    """A run made from a recipe."""

    recipe: str
    """Name of a recipe; `GET /api/recipes` lists them."""
    overrides: dict[str, Any] = {}
    """Fields of RunConfig to change, nested like it."""


class AuditRequest(Wire):
    """Which windows of which run are to be trained again."""

    run_id: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    windows: Annotated[int, Field(ge=1, le=1000)] | None = None
    """So many, picked at random; else 3."""
    begin: Annotated[int, Field(ge=0)] | None = None
    """Those from this step on."""
    end: Annotated[int, Field(ge=1)] | None = None
    """Those up to this step."""
    everything: bool = False
    """All of them."""


class AuditView(Wire):
    """An audit."""

    audit_id: str
    run_id: str
    status: Literal["queued", "running", "done", "failed"]
    reason: str
    """Why it has this status; when it is done, the verdict in one line."""
    windows: dict[str, Any]
    """What was asked for."""
    created: str
    ended: str | None
    node: str | None
    """Node id of where it runs; null before."""
    report: dict[str, Any] | None
    """As `zpctl audit --json` prints it; null before it is done."""
    envelope: dict[str, Any] | None
    """The signed statement of the outcome (DSSE)."""
    log_index: int | None
    """Place of that statement in the log."""
    proof: str | None
    """That it stands there, with the tree head of that moment (C2SP tlog-proof)."""


class AuditPage(Wire):
    """One page of audits."""

    audits: list[AuditView]
    total: int
    next_offset: int | None


class CheckList(Wire):
    """The checks of a pack, none of them made yet."""

    checks: list[Check]


class CanaryView(Wire):
    """What is known of the canary."""

    canary: dict[str, Any]
    """`state`, `detail`; of the last outcome `true_labels`, `shuffled_labels`, `at`, `age_s`."""


class Challenge(Wire):
    """What a client wants to see trained."""

    recipe: str
    """Name of a recipe."""
    nonce: Annotated[str, Field(min_length=16, max_length=200)]
    """The client's own random text, 16 to 200 characters; it enters the seed."""
    steps: Annotated[int, Field(ge=3, le=1000)] = 100
    """Updates, 3 to 1,000."""


class ChallengeView(Wire):
    """A challenge that was taken."""

    run_id: str
    status: RunState
    nonce: str
    links: dict[str, str]
    """Addresses: run, events, records (signed), evidence (the pack)."""


class LogView(Wire):
    """The transparency log of the service."""

    key: str
    """Its verifier key (C2SP signed-note)."""
    size: int
    """Entries so far."""
    witnesses: list[str]
    """Verifier keys of the witnesses that are asked to cosign it."""


class InclusionProof(Wire):
    """The proof that an entry is in the log; hashes are base64."""

    index: int
    size: int
    root: str
    leaf: str
    """SHA-256(0x00 || entry)."""
    hashes: list[str]
    """The leaf's sibling first."""


class ConsistencyProof(Wire):
    """The proof that the log only grew; hashes are base64."""

    old_size: int
    size: int
    old_root: str
    root: str
    hashes: list[str]


class Trend(Wire):
    """Whether the evaluation loss falls."""

    decreasing: bool | None
    """Null below 3 values."""
    rule: str
    """How that was decided."""
    values: list[float | None]
    """Evaluation losses, oldest first."""


class Counts(Wire):
    """How much a run has recorded."""

    metrics: int
    checkpoints: int


class Timings(Wire):
    """Moments of a run, RFC 3339 in UTC; null where it has not come to that."""

    created: str | None
    started: str | None
    ended: str | None


class VerificationView(Wire):
    """What this service found when it verified a run's pack last."""

    verdict: Verdict
    summary: str
    at: str


class RunView(Wire):
    """A run."""

    run_id: str
    name: str
    recipe: str | None
    status: RunState
    reason: str
    """Why it has this status."""
    pending_reason: str | None
    """Why it still waits, while it is queued."""
    last_seq: int
    """Sequence number of its newest event."""
    step: int
    """Updates done."""
    steps: int
    """Updates in all."""
    attempt: int
    """How often a trainer was started."""
    config: RunConfig
    counts: Counts
    timings: Timings
    placement: Placement | None
    last_metrics: dict[str, dict[str, Any]]
    """The newest metric record of each split."""
    trend: Trend
    error: Fault | None
    sealed: bool
    """Whether the evidence pack is complete and signed."""
    verification: VerificationView | None
    """The newest one; null if this service never verified it."""
    links: dict[str, str]


class RunPage(Wire):
    """Some runs, newest first."""

    runs: list[RunView]
    total: int
    """How many there are with this filter."""
    next_offset: int | None
    """`offset` of the next page, or null at the end."""


class TableQuery(Wire):
    """Which runs a table shows, in which order."""

    q: Annotated[str, Field(max_length=200)] = ""
    """Words that must all stand in id, name, recipe, data set, status or place."""
    status: RunState | None = None
    """Only runs with it."""
    sort: SortKey = "created"
    """Column; runs without a value in it come last."""
    order: Literal["asc", "desc"] = "desc"
    offset: Annotated[int, Field(ge=0, le=10**9)] = 0
    limit: Annotated[int, Field(ge=1, le=100)] = 100


class RunRow(Wire):
    """What a table shows of a run."""

    run_id: str
    name: str
    recipe: str | None
    dataset: str
    architecture: str
    status: RunState
    reason: str
    """Why it has this status; while it is queued, why it still waits."""
    step: int
    steps: int
    loss: float | None
    """Of the newest training metric, in nats."""
    accuracy: float | None
    """Of the newest evaluation on the test split, [0, 1]."""
    samples_s: float | None
    """Of the newest training metric."""
    course: list[float]
    """Training losses from the first on, every n-th, at most 64, to 4 digits."""
    device: str | None
    node: str | None
    created: str | None
    started: str | None
    ended: str | None
    sealed: bool
    verification: VerificationView | None


class RunTable(Wire):
    """A page of the table of runs."""

    rows: list[RunRow]
    total: int
    """Runs that match."""
    counts: dict[str, int]
    """Runs in each status, whatever the filter."""
    next_offset: int | None
    last_seq: int
    """`after` for `GET /api/events/training`: what came later is not in here."""


class MetricPage(Wire):
    """Some metric records of a run, oldest first."""

    run_id: str
    metrics: list[dict[str, Any]]
    next_after: int
    """`after` of the next page."""
    total: int
    trend: Trend


class Curve(Wire):
    """Metrics of one split, oldest first."""

    columns: dict[str, list[Any]]
    """`seq`, `step`, `timestamp` and each measure; all of one length, null where not measured."""
    reasons: dict[str, str]
    """For each measure that is null somewhere, why."""


class CurvePage(Wire):
    """Metrics of a run as columns: what charts are drawn from."""

    run_id: str
    train: Curve
    test: Curve
    next_after: int
    """`after` of the next page, and of the event stream."""
    is_whole: bool
    """Whether there were no more at that moment."""


class LogPage(Wire):
    """Some log and status records of a run, oldest first."""

    run_id: str
    logs: list[dict[str, Any]]
    next_after: int


class CheckpointList(Wire):
    """The checkpoints of a run, oldest first."""

    run_id: str
    checkpoints: list[dict[str, Any]]


class EvidenceFile(Wire):
    """One file of a pack."""

    path: str
    bytes: int
    sha256: str


class EvidenceView(Wire):
    """The files of a pack."""

    run_id: str
    sealed: bool
    manifest_sha256: str | None
    files: list[EvidenceFile]


class PredictRequest(Wire, strict=True):
    """Images to classify."""

    images: Annotated[list[Any], Field(min_length=1, max_length=256)]
    """Each H x W, or C x H x W, of integers 0 to 255, in the size of the run's data set."""
    step: Annotated[int, Field(ge=0)] | None = None
    """Checkpoint to use; null is the newest."""


class Prediction(Wire):
    """What a model makes of one image."""

    label: Annotated[int, Field(ge=0)]
    """Index of the class with the largest probability."""
    name: str
    """Its name."""
    probabilities: list[float]
    """By class; they add up to 1."""


class PredictResponse(Wire):
    """Predictions in the order of the images."""

    run_id: str
    step: int
    predictions: list[Prediction]


class DatasetList(Wire):
    """Data sets that recipes can name."""

    datasets: list[dict[str, Any]]


class DatasetView(Wire):
    """One data set."""

    dataset: dict[str, Any]


class RecipeView(Wire):
    """A recipe with every default filled in."""

    name: str
    config: RunConfig


class RecipeList(Wire):
    """All recipes."""

    recipes: list[RecipeView]


class ModelPage(Wire):
    """One page of models of runs that succeeded, newest first."""

    models: list[dict[str, Any]]
    total: int
    next_offset: int | None


class NodeList(Wire):
    """Nodes of the cluster and their devices, as probed."""

    nodes: list[dict[str, Any]]


class CollectRequest(Wire, strict=True):
    """Which ended runs to delete; null does not limit."""

    keep_runs: Annotated[int, Field(ge=0)] | None = None
    max_age_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    max_bytes: Annotated[int, Field(ge=0)] | None = None
    dry_run: bool = False
    """Only say which."""


class CollectResponse(Wire):
    """Tombstones of deleted runs, or what would be deleted."""

    deleted: list[dict[str, Any]]
    dry_run: bool


class Health(Wire):
    """Whether the service can do what it promises."""

    status: Literal["ok", "not_ready"]
    version: str
    commit: str | None
    phase: str
    mocks: bool
    """Derived from `checks.honesty`: false when the scan found nothing."""
    checks: dict[str, dict[str, Any]]
    """State of each dependency: `state` is passed, failed or pending."""


class Problem(BaseModel):
    """RFC 9457 problem details."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    """Stable code; docs/errors.md lists them."""
    field: str | None = None
    """Input field at fault."""
    expected: str | None = None
    found: str | None = None
    cure: str | None = None
    """What to do about it."""
