"""OpenBLAS through ctypes, on one thread: where oneDNN cannot be used, products go through it.

The wheel `scipy-openblas64` is pinned by the lock; it is not what numpy happens to bundle. All
integers are 64-bit, and the names of its functions have a prefix and a suffix of their own.

Source: https://github.com/OpenMathLib/OpenBLAS, cblas.h; the wheel:
https://github.com/MacPython/openblas-libs.
"""

import ctypes
import functools
from ctypes import c_char_p, c_int, c_void_p
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final

from evidence.errors import NotInstalled, Unavailable

PACKAGE: Final = "scipy-openblas64"
_FILE: Final = "libscipy_openblas64_"


def library_path() -> Path:
    """Return the library's file.

    Raises:
        NotInstalled: The package is absent.
    """
    try:
        files = distribution(PACKAGE).files or []
    except PackageNotFoundError as error:
        raise NotInstalled(
            f"{PACKAGE} is not installed", cure=f"pip install {PACKAGE}==0.3.34.481.3"
        ) from error
    return next(Path(str(file.locate())).resolve() for file in files if file.stem == _FILE)


def require_usable() -> ctypes.CDLL:
    """Return the library, opened.

    Raises:
        NotInstalled: The package is absent, or it does not open here.
    """
    path = library_path()
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise NotInstalled(f"{path.name}: {error}") from error


class Library:
    """The loaded library, set to one thread: sums are then added up in one order.

    Its kernels (OPENBLAS_CORETYPE) are those of the environment at the time of loading.

    Raises:
        NotInstalled: The package is absent, or it does not open here.
        Unavailable: It does not take one thread.
    """

    def __init__(self) -> None:
        self.c = require_usable()
        self._function("openblas_set_num_threads64_")(c_int(1))
        if self.threads != 1:
            raise Unavailable(f"OpenBLAS: expected one thread, found {self.threads}")
        self.status = c_int(0)
        """First status other than success that a kernel met; kernels write it, we read it."""

    @property
    def threads(self) -> int:
        """Threads that it computes with."""
        return int(self._function("openblas_get_num_threads64_")())

    @property
    def version(self) -> str:
        """Release and how it was built, e.g. `OpenBLAS 0.3.34 USE64BITINT DYNAMIC_ARCH ...`."""
        return self._text("openblas_get_config64_")

    @property
    def core(self) -> str:
        """Name of the processor whose kernels it uses, after the cap."""
        return self._text("openblas_get_corename64_")

    def address(self, name: str) -> int:
        """Return the address of a function, without prefix."""
        return ctypes.cast(self._function(name), c_void_p).value or 0

    def _text(self, name: str) -> str:
        function = self._function(name)
        function.restype = c_char_p
        told: bytes = function()
        return told.decode().strip()

    def _function(self, name: str) -> Any:
        return getattr(self.c, f"scipy_{name}")


@functools.cache
def load() -> Library:
    """Return the library of this process, loaded at the first call; see `Library`."""
    return Library()
