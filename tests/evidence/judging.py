"""What tests ask of a verified pack."""

from pathlib import Path

from evidence.archive import open_pack
from evidence.report import Check, Report, Result
from evidence.signing import PublicKey
from evidence.subject import DescribeModel
from evidence.verify import verify


def judge(
    path: Path, *, public_key: PublicKey | None = None, describe_model: DescribeModel | None = None
) -> Report:
    with open_pack(path) as pack:
        return verify(pack, public_key=public_key, describe_model=describe_model)


def failed(path: Path) -> list[str]:
    """Return the ids of the checks that failed."""
    return [check.id for check in judge(path).checks if check.result is Result.FAILED]


def check(path: Path, check_id: str) -> Check:
    """Return one check of a pack."""
    return next(check for check in judge(path).checks if check.id == check_id)
