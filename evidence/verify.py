"""Verification of an evidence pack with nothing but the pack: numbered checks, then a verdict.

     1  files.complete         files as in the manifest; none missing, extra or unknown
     2  files.digests          size and SHA-256 of every file; manifest.sha256 exact
     3  seal.signature         the manifest is signed by the key in seal/
     4  events.chain           events.jsonl is an unbroken chain from config.json on
     5  metrics.chain          metrics.jsonl is one too, and holds exactly the metric events
     6  run.story              config, provenance, seed, data, states and end agree
     7  run.steps              metrics, evaluations, checkpoints as the config puts them, in order
     8  run.learning_rate      every learning rate equals the schedule
     9  checkpoints.digests    files and states of checkpoints as recorded
    10  checkpoints.tensors    names, shapes and dtypes as in model.json
    11  derived.files          run.json, loss_curve.csv, tinygrad.jsonl recomputed byte for byte
    12  model.rebuilt          model.json is the model of config.json (needs tinygrad: injected)
    13  records.chain          records.jsonl is a chain of signed statements, up to the seal
    14  records.commitment     config, data, seed and the rest were signed before step 1
    15  records.checkpoints    each checkpoint was signed, and the journals up to it with it
    16  log.inclusion          each signed record is in the tree that the log signed
    17  log.consistency        that tree and one that is known from elsewhere are of one log
    18  log.witnesses          witnesses whose keys are known cosigned that tree
    19  model.signature        model.sig of each checkpoint, as OpenSSF Model Signing verifies it
    20  log.beginning          those witnesses cosigned a tree with the commitment, and when
    21  governance.verdict     the data gate let each placement through, before the commitment

Ids are stable; numbers are the order. A check that needs another one which did not pass is not
made and says so; all others go on. The functions are in `check_files`, `check_journals`,
`check_run`, `check_steps`, `check_checkpoints`, `check_records`, `check_log`
and `check_verdicts`; each is marked with its number.
"""

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass
from typing import TypedDict, Unpack

from evidence import (
    check_checkpoints,
    check_files,
    check_journals,
    check_log,
    check_records,
    check_run,
    check_steps,
    check_verdicts,
)
from evidence.archive import Pack
from evidence.errors import ServiceError
from evidence.report import Check, Report, Result, report_of
from evidence.signing import PublicKey
from evidence.subject import (
    NOTHING_KNOWN,
    DescribeModel,
    Differs,
    Good,
    KnownLog,
    NotCheckable,
    Subject,
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One check of the list."""

    number: int
    id: str
    title: str
    needs: tuple[int, ...]
    """Numbers of the checks that must have passed."""
    run: Callable[[Subject], Good]


RULES = (
    Rule(1, "files.complete", "Pack is complete: the listed files and no others",
         (), check_files.complete),
    Rule(2, "files.digests", "Every file has the size and SHA-256 of the manifest",
         (), check_files.digests),
    Rule(3, "seal.signature", "Manifest is signed by the key in seal/",
         (), check_files.signature),
    Rule(4, "events.chain", "events.jsonl is unbroken and begins at the config",
         (), check_journals.events),
    Rule(5, "metrics.chain", "metrics.jsonl is unbroken and equals the events",
         (4,), check_journals.metrics),
    Rule(6, "run.story", "Config, provenance, seed, data and states agree",
         (4,), check_run.story),
    Rule(7, "run.steps", "Steps and checkpoints fit the config",
         (5, 6), check_steps.steps),
    Rule(8, "run.learning_rate", "Every learning rate equals the schedule",
         (5, 6), check_run.learning_rates),
    Rule(9, "checkpoints.digests", "Checkpoints have their recorded digests",
         (4,), check_checkpoints.recorded),
    Rule(10, "checkpoints.tensors", "Checkpoints hold the tensors of model.json",
         (9,), check_checkpoints.shapes),
    Rule(11, "derived.files", "Derived files equal what the journals give",
         (4, 6), check_run.derived_files),
    Rule(12, "model.rebuilt", "model.json is the model that config.json describes",
         (6,), check_run.rebuilt_model),
    Rule(13, "records.chain", "Signed records follow one another up to the seal",
         (3,), check_records.chain),
    Rule(14, "records.commitment", "Run was committed to before its first step",
         (4, 6, 13), check_records.commitment),
    Rule(15, "records.checkpoints", "Every checkpoint was signed, with the journals up to it",
         (4, 5, 13), check_records.checkpoints),
    Rule(16, "log.inclusion", "Every signed record is in the transparency log",
         (3, 13), check_log.inclusion),
    Rule(17, "log.consistency", "The log goes on from a tree head that you know",
         (16,), check_log.consistency),
    Rule(18, "log.witnesses", "Witnesses that you trust cosigned the log",
         (16,), check_log.witnesses),
    Rule(19, "model.signature", "Checkpoints carry OpenSSF model signatures",
         (3, 9), check_records.model_signatures),
    Rule(20, "log.beginning", "Witnesses that you trust saw the commitment before the end",
         (4, 14, 16), check_log.beginning),
    Rule(21, "governance.verdict", "The data gate let the run through before it was committed to",
         (4, 6, 13), check_verdicts.verdicts),
)  # fmt: skip
"""The one list of checks."""


class Options(TypedDict, total=False):
    """What a verification may be given; see `Verification`."""

    public_key: PublicKey | None
    describe_model: DescribeModel | None
    known_log: KnownLog
    required: Collection[str]


class Verification:
    """One verification of one pack.

    Args:
        pack: The pack; see `archive.open_pack`.
        public_key: The key that must have signed; None accepts any and reports it.
        describe_model: Builds the model of a config.json and returns its model.json; None leaves
            check 12 out.
        known_log: What is known of the log from elsewhere.
        required: Ids of checks without which the pack does not pass, where they are not made.
    """

    def __init__(
        self,
        pack: Pack,
        *,
        public_key: PublicKey | None = None,
        describe_model: DescribeModel | None = None,
        known_log: KnownLog = NOTHING_KNOWN,
        required: Collection[str] = (),
    ) -> None:
        self._subject = Subject(pack, public_key, describe_model, known_log)
        self._required = required
        self._results: dict[int, Result] = {}
        self._checks: list[Check] = []

    def run(self) -> Iterator[Check]:
        """Make the checks in order and yield each as it is done.

        Raises:
            OSError: A file of the pack cannot be read.
        """
        for rule in RULES:
            check = self._run(rule)
            self._results[rule.number] = check.result
            self._checks.append(check)
            yield check

    @property
    def subject(self) -> Subject:
        """The pack and what the checks read of it; to be believed where all of them passed."""
        return self._subject

    def report(self) -> Report:
        """Return the report of the checks that were made."""
        return report_of(
            self._checks,
            pack=self._subject.pack.name,
            run_id=self._run_id(),
            sealed=self._subject.sealed,
            key_id=self._subject.key_id,
            required=self._required,
        )

    def _run_id(self) -> str | None:
        try:
            return self._subject.manifest.run_id
        except (Differs, ServiceError):
            return None

    def _run(self, rule: Rule) -> Check:
        unmet = [n for n in rule.needs if self._results[n] is not Result.PASSED]
        if unmet:
            reason = f"needs check {' and '.join(map(str, unmet))}"
            return _check(rule, result=Result.NOT_CHECKED, detail=reason)
        begun = time.perf_counter()
        try:
            good = rule.run(self._subject)
            check = _check(rule, result=Result.PASSED, count=good.count, detail=good.detail)
        except Differs as error:
            check = _check(rule, result=Result.FAILED, **asdict(error.difference))
        except NotCheckable as error:
            check = _check(rule, result=Result.NOT_CHECKED, detail=str(error))
        except ServiceError as error:  # a damaged zip, a file beyond every limit
            check = _check(rule, result=Result.FAILED, detail=error.detail)
        return check.model_copy(update={"seconds": time.perf_counter() - begun})


def _check(rule: Rule, *, result: Result, **fields: str) -> Check:
    return Check(number=rule.number, id=rule.id, title=rule.title, result=result, **fields)


def planned() -> list[Check]:
    """Return all checks as pending, to be shown before they run."""
    return [_check(rule, result=Result.PENDING) for rule in RULES]


def run_checks(pack: Pack, **options: Unpack[Options]) -> Iterator[Check]:
    """Yield each check of a pack as it is done; see `Verification`."""
    return Verification(pack, **options).run()


def verify(pack: Pack, **options: Unpack[Options]) -> Report:
    """Make all checks of a pack and return the report; see `Verification` for the options.

    A pack that is not sealed is checked as far as that goes, and never passes.

    Raises:
        OSError: A file of the pack cannot be read.
    """
    verification = Verification(pack, **options)
    for _ in verification.run():
        pass
    return verification.report()
