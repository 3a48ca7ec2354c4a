"""What a bridge is to do, kept on the disk so that a restarted one does it again."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evidence.errors import ConfigError, InvalidInput
from evidence.files import write_atomic

FOLDER = "petals"
"""Name of a bridge's folder in the service's home."""


class HostSpec(BaseModel):
    """Blocks to serve."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[str, Field(max_length=64)]
    begin: Annotated[int, Field(ge=0)]
    end: Annotated[int, Field(ge=1)]
    """Block behind the last one."""

    def require_within(self, blocks: int) -> None:
        """Make sure that the blocks are a model's.

        Raises:
            InvalidInput: They are not.
        """
        if not self.begin < self.end <= blocks:
            raise InvalidInput(
                f"blocks: expected a span within 0:{blocks}, found {self.begin}:{self.end}",
                field="blocks",
                expected=f"a span within 0:{blocks}",
                found=f"{self.begin}:{self.end}",
            )


class Wanted(BaseModel):
    """Everything that is wanted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    join: str | None = None
    """Model to join the swarm for."""
    host: HostSpec | None = None

    @property
    def is_anything(self) -> bool:
        """Whether a bridge has something to do."""
        return self.join is not None or self.host is not None

    def joined(self, model: str) -> "Wanted":
        """Return the same with a model to join for."""
        return self.model_copy(update={"join": model})

    def hosting(self, spec: HostSpec) -> "Wanted":
        """Return the same with blocks to serve."""
        return self.model_copy(update={"host": spec})


class WantedFile:
    """The file with it.

    Args:
        path: Need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Wanted:
        """Return what is wanted; nothing where there is no file.

        Raises:
            ConfigError: The file is damaged.
        """
        try:
            return Wanted.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return Wanted()
        except ValidationError as error:
            raise ConfigError(f"{self._path} is damaged", cure="zpctl petals leave") from error

    def write(self, wanted: Wanted) -> None:
        """Replace what is wanted.

        Raises:
            StorageFull: There is no space.
        """
        write_atomic(self._path, wanted.model_dump_json().encode())
