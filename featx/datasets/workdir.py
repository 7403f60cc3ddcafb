"""The folder where featx keeps what it derives from a data set: images written out, digests.

Arrays and archives are turned into a folder of image files once. The folder is built under a
temporary name and renamed, so that it is either complete or not there.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from featx.errors import DatasetError

Progress = Callable[[str, int, int], None]
"""`progress(stage, done, total)`; `total` is 0 where it is not known."""

LEFTOVER_SECONDS = 24 * 3600
"""A temporary folder older than this belongs to a run that was killed."""


def no_progress(stage: str, done: int, total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class WorkDir:
    """Where derived files go, and who hears about progress.

    Attributes
    ----------
    path : Path
        The folder; made when first needed.
    progress : callable
        Told about every stage.
    """

    path: Path
    progress: Progress = no_progress

    def materialise(self, name: str, build: Callable[[Path], None]) -> Path:
        """Return the folder `name`, calling `build(folder)` to fill it if it is not there.

        Two processes may build at once: the first to finish wins and both see one whole folder.

        Raises
        ------
        DatasetError
            The folder cannot be written: no space, no permission.
        """
        target = self.path / "images" / name
        if target.is_dir():
            return target
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._remove_leftovers(target.parent)
            draft = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=target.parent))
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            build(draft)
            os.sync()  # one call for all files: an fsync each would take minutes for 60,000
            draft.chmod(0o755)
            draft.rename(target)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and target.is_dir():
                return target  # another process was faster
            raise self._unwritable(error) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return target

    def _unwritable(self, error: OSError) -> DatasetError:
        return DatasetError(
            f"Cannot write images below {str(self.path)!r}: {error.strerror or error}. Free some "
            "space or choose another folder."
        )

    def _remove_leftovers(self, folder: Path) -> None:
        for entry in os.scandir(folder):
            if entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                age = time.time() - entry.stat(follow_symlinks=False).st_mtime
                if age > LEFTOVER_SECONDS:
                    shutil.rmtree(entry.path, ignore_errors=True)
