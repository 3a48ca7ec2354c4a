"""The zoo: one class a fake service, each with its one lie and what must find it."""

import json
import math
import time
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from tests.fraud.zoo import network
from tests.fraud.zoo.impostor import RUNS, Asked, Impostor, Run, as_frame
from tests.fraud.zoo.loot import Json, Reply, Sent, rezipped, unzipped

_TEST_IMAGES = 10_000


class Liar(Impostor):
    """A fake with a lie of its own."""

    found_by: ClassVar[str]
    """Id of the check that must find it."""


def changed(reply: Reply, value: Any) -> Reply:
    return replace(reply, body=json.dumps(value).encode())


class StaticJson(Liar):
    """The same few documents, whoever asks for whatever."""

    name = "static JSON"
    found_by = "problems.unknown_run"

    def answer(self, asked: Asked) -> Reply:
        known = self.loot.last(asked.target) or self.loot.last(f"{RUNS}/{self.loot.runs[0].run_id}")
        assert known is not None
        return known

    def opened(self, asked: Asked) -> Reply | Run:
        return self.answer(asked)


class Replay(Liar):
    """The log, the events and the packs of other runs: the base of all that follow."""

    name = "replay of other runs"
    found_by = "pack.asked_for"


class _Metrics(Liar):
    """Changes the metrics in all answers alike, but not in packs."""

    def metric(self, record: Json) -> Json:
        raise AssertionError(record)

    def lie_in_event(self, run: Run, event: Sent) -> Sent:
        _ = run
        if event.kind != "metric":
            return event
        return event.with_record(self.metric(event.record))

    def lie(self, asked: Asked, reply: Reply) -> Reply:
        if reply.status != 200 or asked.path.rpartition("/")[2] not in {"metrics", "models"}:
            return reply
        told = reply.json
        if asked.path.endswith("/models"):
            for one in told["models"]:
                one["test_accuracy"] = self.metric(_as_metric(one))["accuracy"]
        else:
            told["metrics"] = [self.metric(record) for record in told["metrics"]]
        return changed(reply, told)


def _as_metric(model: Json) -> Json:
    told = {"split": "test", "loss": model["test_loss"], "accuracy": model["test_accuracy"]}
    return {**told, "step": model["step"]}


class CannedCurve(_Metrics):
    """A smooth curve in place of training losses."""

    name = "canned curve"
    found_by = "loss.measured"

    def metric(self, record: Json) -> Json:
        if record["split"] == "test":
            return record
        return {**record, "loss": 0.2 + 2.1 * math.exp(-record["step"] / 60)}


class DecayingRandom(_Metrics):
    """Random numbers around a falling curve in place of every measure."""

    name = "decaying random curve"
    found_by = "model.accuracy"

    def metric(self, record: Json) -> Json:
        step, over = record["step"], 64 if record["split"] == "train" else _TEST_IMAGES
        drawn = np.random.default_rng((step, over)).normal(0, 0.1)
        falling = math.exp(-step / 80)
        hits = round(over * min(1.0, max(0.0, 0.95 - 0.8 * falling + 0.1 * drawn)))
        return {**record, "loss": abs(0.2 + 2 * falling + drawn), "accuracy": hits / over}


class Inflated(_Metrics):
    """A test accuracy that is 3 points too good, everywhere but in the pack."""

    name = "inflated accuracy"
    found_by = "model.accuracy"

    def metric(self, record: Json) -> Json:
        if record["split"] == "train":
            return record
        hits = min(_TEST_IMAGES, round(record["accuracy"] * _TEST_IMAGES) + 300)
        return {**record, "accuracy": hits / _TEST_IMAGES}


class TwoFaced(Liar):
    """Better losses over REST than in the stream."""

    name = "metrics that differ between REST and stream"
    found_by = "metrics.agreeing"

    def lie(self, asked: Asked, reply: Reply) -> Reply:
        if reply.status != 200 or not asked.path.endswith("/metrics"):
            return reply
        told = reply.json
        told["metrics"] = [{**one, "loss": one["loss"] * 0.99} for one in told["metrics"]]
        return changed(reply, told)


class _Packs(Liar):
    """Changes files of packs, and leaves every seal as it was."""

    def files(self, run: Run, held: dict[str, bytes]) -> dict[str, bytes]:
        raise AssertionError(run, held)

    def lie(self, asked: Asked, reply: Reply) -> Reply:
        run = self.run(asked.path.removeprefix(f"{RUNS}/").partition("/")[0])
        if run is None or reply.headers.get("content-type") != "application/zip":
            return reply
        files = self.files(run, unzipped(reply.body))
        return replace(reply, body=rezipped(reply.body, files))


class WrongData(_Packs):
    """Another data set than the one whose name it gives."""

    name = "wrong data set"
    found_by = "pack.data"

    def files(self, run: Run, held: dict[str, bytes]) -> dict[str, bytes]:
        _ = run
        told = json.loads(held["provenance.json"])
        digests = told["dataset"]["files"]
        told["dataset"]["files"] = {name: digest[::-1] for name, digest in digests.items()}
        body = json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
        return {"provenance.json": body}


class Renamed(_Packs):
    """The pack of one run under the name of another, with the name in it changed too."""

    name = "renamed pack"
    found_by = "pack.sound"

    def files(self, run: Run, held: dict[str, bytes]) -> dict[str, bytes]:
        _ = held
        other = next(one for one in self.loot.runs if one.run_id != run.loot.run_id)
        known = self.loot.last(f"{RUNS}/{other.run_id}/evidence?format=zip")
        assert known is not None
        old, new = other.run_id.encode(), run.loot.run_id.encode()
        return {name: data.replace(old, new) for name, data in unzipped(known.body).items()}


class RandomWeights(Liar):
    """Checkpoints with the right names and shapes, and random numbers in them."""

    name = "checkpoints of random weights"
    found_by = "model.accuracy"

    def lie(self, asked: Asked, reply: Reply) -> Reply:
        if reply.status != 200 or asked.query.get("file") != "model.safetensors":
            return reply
        return replace(reply, body=network.with_random_tensors(reply.body, len(asked.path)))


class EarlyStop(Liar):
    """Two thirds of the steps, called all of them."""

    name = "early stop"
    found_by = "runs.complete"

    def lie(self, asked: Asked, reply: Reply) -> Reply:
        if reply.status != 200 or not asked.path.endswith(("/metrics", "/checkpoints")):
            return reply
        name, told = asked.path.rpartition("/")[2], reply.json
        told[name] = [one for one in told[name] if one["step"] <= 266]
        return changed(reply, told)


class Cached(Liar):
    """The answers of the first run for every run, under another id."""

    name = "cached answers"
    found_by = "runs.other_nonce"

    def lie(self, asked: Asked, reply: Reply) -> Reply:
        run = self.run(asked.path.removeprefix(f"{RUNS}/").partition("/")[0])
        is_json = reply.headers.get("content-type", "").startswith("application/json")
        if run is None or not run.is_over or asked.method != "GET" or not is_json:
            return reply
        first, own = self.loot.runs[0].run_id, run.loot.run_id
        known = self.loot.last(asked.target.replace(own, first))
        if known is None or asked.path.endswith(own):
            return reply
        return replace(known, body=known.body.replace(first.encode(), own.encode()))


class ConstantHealth(Liar):
    """Health as it was when the service was new."""

    name = "constant health"
    found_by = "health.live"

    def lie(self, asked: Asked, reply: Reply) -> Reply:
        if not asked.path.endswith(("healthz", "readyz")):
            return reply
        return self.loot.first(asked.path) or reply


class Unbacked(Liar):
    """`mocks: false` without a finding that it could rest on."""

    name = "health without checks"
    found_by = "health.backed"

    def lie(self, asked: Asked, reply: Reply) -> Reply:
        if not asked.path.endswith(("healthz", "readyz")):
            return reply
        return changed(reply, {**reply.json, "checks": {"honesty": {"state": "passed"}}})


class AllAtOnce(Liar):
    """A stream that holds everything back until the end, and sends it in one piece."""

    name = "stream sent after the fact"
    found_by = "stream.live"

    def stream(self, asked: Asked, run: Run, write: Any) -> None:
        after = int(asked.headers.get("last-event-id") or 0)
        time.sleep(max(0.0, run.begun + run.events[-1].at_s - time.monotonic()))
        write(b"".join(as_frame(event) for event in run.events[after:]))


class Forgetful(Liar):
    """A stream that loses an event where a reader comes back to it."""

    name = "stream with a gap"
    found_by = "stream.resumed"

    def stream(self, asked: Asked, run: Run, write: Any) -> None:
        after = int(asked.headers.get("last-event-id") or 0)
        skipped = replace(asked, headers={**asked.headers, "last-event-id": str(after + 1)})
        super().stream(skipped if after else asked, run, write)


class Rewritten(Liar):
    """A log that shows the tree head of before the runs, as if nothing had been logged."""

    name = "log that does not grow"
    found_by = "log.grown"

    def lie(self, asked: Asked, reply: Reply) -> Reply:
        if asked.path != "/api/log/checkpoint":
            return reply
        return self.loot.first(asked.path) or reply


class Lenient(Liar):
    """Says that it took in a run, whatever is wrong with its config."""

    name = "accepts anything"
    found_by = "problems.wrong_field"

    def lie(self, asked: Asked, reply: Reply) -> Reply:
        if asked.method != "POST" or reply.status != 422:
            return reply
        return self.loot.runs[0].submitted


class Talkative(Liar):
    """Repeats the token of a request in a problem document."""

    name = "repeats the token"
    found_by = "http.token"

    def lie(self, asked: Asked, reply: Reply) -> Reply:
        if reply.status != 404:
            return reply
        detail = f"no such thing for {asked.headers.get('authorization')}"
        return changed(reply, {**reply.json, "detail": detail})


LIARS: tuple[type[Liar], ...] = (
    StaticJson,
    Replay,
    CannedCurve,
    DecayingRandom,
    Inflated,
    TwoFaced,
    WrongData,
    Renamed,
    RandomWeights,
    EarlyStop,
    Cached,
    ConstantHealth,
    Unbacked,
    AllAtOnce,
    Forgetful,
    Rewritten,
    Lenient,
    Talkative,
)
"""Every fake of the zoo."""
