"""The list of checks of a probe. Ids are stable; numbers are the order of the report."""

from collections.abc import Callable
from dataclasses import dataclass

from evidence.subject import DescribeModel
from serve.probe import (
    check_health,
    check_http,
    check_log,
    check_models,
    check_packs,
    check_runs,
    check_streams,
)
from serve.probe.finding import Finder
from serve.probe.seen import Seen


@dataclass(frozen=True, slots=True)
class Rule:
    """One check."""

    number: int
    id: str
    title: str
    """What holds if it passes."""
    find: Callable[[Seen], Finder]


def rules(describe_model: DescribeModel | None = None) -> tuple[Rule, ...]:
    """Return every check.

    Args:
        describe_model: Builds the model of a config for check `model.rebuilt` of a pack; None
            leaves that one out.
    """
    listed: tuple[tuple[str, str, Callable[[Seen], Finder]], ...] = (
        ("http.schema", "Every answer is one that the contract states", check_http.schema),
        ("http.headers", "Every answer has the stated headers", check_http.headers),
        ("http.routes", "Every GET route answers", check_http.routes),
        ("http.openapi", "The service states this checkout's API", check_http.openapi),
        ("http.token", "The token is asked for and never repeated", check_http.token),
        ("problems.unknown_run", "An unknown run is 404", check_http.unknown_run),
        ("problems.wrong_field", "A wrong value is 422 and named", check_http.wrong_field),
        ("problems.far_future", "A stream of the future is 204", check_http.far_future),
        ("static.repeated", "The same request gives the same", check_http.repeated),
        ("static.moving", "What runs change has changed", check_http.moving),
        ("static.listed", "Nothing is there before it exists", check_http.listed),
        ("health.backed", "Status and mocks follow from checks", check_health.backed),
        ("health.live", "Health moves with what happens", check_health.live),
        ("health.code", "Health is about the code of this checkout", check_health.code),
        ("runs.accepted", "Runs are what was asked for", check_runs.accepted),
        ("runs.complete", "Runs did every step that was asked for", check_runs.complete),
        ("runs.idempotent", "One key gives one run", check_runs.idempotent),
        ("runs.same_nonce", "One nonce gives the same bits twice", check_runs.same_nonce),
        ("runs.other_nonce", "Another nonce gives other bits", check_runs.other_nonce),
        ("runs.audited", "The service can do a window again", check_runs.audited),
        ("stream.order", "Events come once, in order, to the end", check_streams.order),
        ("stream.live", "Events come while the run runs", check_streams.live),
        ("stream.resumed", "A stream goes on exactly where it was cut", check_streams.resumed),
        ("metrics.agreeing", "Stream, REST and pack agree", check_streams.agreeing),
        ("loss.falling", "Losses fall", check_runs.falling),
        ("loss.measured", "Losses look measured, not drawn", check_runs.measured),
        ("pack.sound", "Packs pass verification", check_packs.Sound(describe_model)),
        ("pack.asked_for", "Packs are of the runs asked for", check_packs.asked_for),
        ("pack.data", "Packs are of the published data", check_packs.published_data),
        ("pack.listed", "List, zip and downloads are the same", check_packs.listed),
        ("model.loadable", "Checkpoints hold the model asked for", check_models.loadable),
        ("model.accuracy", "Checkpoints have the reported accuracy", check_models.accurate),
        ("model.losses", "Checkpoints give the next reported loss", check_models.losses),
        ("model.order", "The order of samples follows from the seed", check_models.ordered),
        ("model.predicted", "Predictions are the checkpoint's", check_models.predicted),
        ("log.grown", "The log only grew", check_log.grown),
        ("log.included", "The log has the records of the run", check_log.included),
        ("keys.history", "The history of keys leads to the packs' key", check_log.keys),
    )
    return tuple(
        Rule(number, name, title, find) for number, (name, title, find) in enumerate(listed, 1)
    )
