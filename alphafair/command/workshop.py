"""Where the output is made: in a folder of its own beside it, until it takes its place at once.

Whatever happens before, full disks and signals included, the folder goes away and the output is
what it was.  Even where a run is killed and the folder stays, a later run makes another one.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import sys
import tempfile
import threading
from pathlib import Path

from .arguments import STANDARD
from .refusals import Refused


class Workshop:
    """A folder for unfinished files, made when first needed.

    Attributes:
        lock: held while finished files take their places, or while an error is told; for ever by
            who discards the folder because of a signal.
        finished: whether they have done so.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.lock = threading.Lock()
        self.finished = False

    def open(self, output: Path | None, force: bool) -> None:
        """Make the folder, on the file system of the output.

        Raises:
            Refused: the output cannot be written or is there already.
        """
        if output in (None, STANDARD):
            beside, name = Path(tempfile.gettempdir()), "alphafair"
        else:
            assert output is not None
            refuse_taken(output, force)
            target = _target(output, force)
            beside, name = target.parent, target.name
        folder = beside / _hidden(name)
        self.folder = folder  # known before it is there: a signal may come in between
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise Refused(f"{output}: cannot be written: {error.strerror}") from None

    def path(self, name: str) -> Path:
        """A file in the folder."""
        assert self.folder is not None
        return self.folder / name

    def finish(self, files: dict[Path, Path], force: bool) -> None:
        """Let files take their places.

        Args:
            files: where to → the finished file.  Standard output gets a copy.
            force: whether what is there may be replaced.

        Raises:
            Refused: a place has been taken in the meantime; then no file has changed.
        """
        if STANDARD in files:  # it may wait for a reader, and a signal must be able to end that
            _print(files.pop(STANDARD))
        with self.lock:
            new: list[Path] = []
            near: list[Path] = []
            try:
                for place, unfinished in files.items():
                    if _is_far(unfinished, place):
                        near.append(_target(place, force).with_name(_hidden(place.name)))
                        files[place] = Path(shutil.copyfile(unfinished, near[-1]))
                for place, unfinished in files.items():
                    if force:
                        _replace(unfinished, _target(place, force))
                    else:
                        _link(unfinished, place)
                        new.append(place)
            except BaseException:
                for place in new:
                    place.unlink(missing_ok=True)
                raise
            finally:
                for copy in near:
                    copy.unlink(missing_ok=True)
            self.finished = True

    def discard(self) -> None:
        """Remove the folder with all that is in it."""
        if self.folder is None:
            return
        for _ in range(100):  # something may still be writing into it
            shutil.rmtree(self.folder, ignore_errors=True)
            if not self.folder.exists():
                return


def _hidden(name: str) -> str:
    """A name that nobody else has."""
    return f".{name[:100]}.{secrets.token_hex(8)}"


def refuse_taken(output: Path, force: bool) -> None:
    """Refuse to write where something is that must not go."""
    if output.is_dir():
        raise Refused(f"{output}: is a folder, not a file")
    if os.path.lexists(output) and not force:
        raise Refused(f"{output}: exists already: choose another (-o) or --force")
    if output.exists() and not stat.S_ISREG(output.stat().st_mode):
        raise Refused(f"{output}: is no ordinary file: choose another output (-o)")


def _is_far(unfinished: Path, place: Path) -> bool:
    """Whether a report goes to another file system than the doses, so that it has to be copied."""
    return unfinished.stat().st_dev != Path(os.path.realpath(place)).parent.stat().st_dev


def _target(output: Path, force: bool) -> Path:
    """The file itself, where the output is a link to it that may be written through."""
    return Path(os.path.realpath(output)) if force else output


def _link(unfinished: Path, place: Path) -> None:
    """Take a free place; never one that is taken, however late."""
    try:
        try:
            os.link(unfinished, place)
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            unfinished.replace(place)
    except FileExistsError:
        raise Refused(f"{place}: exists already: choose another (-o) or --force") from None


def _replace(unfinished: Path, target: Path) -> None:
    """Take the place, the mode and the owner of what is there."""
    with contextlib.suppress(FileNotFoundError):
        old = target.stat()
        with contextlib.suppress(OSError, AttributeError):  # before the mode, which it may change
            os.chown(unfinished, old.st_uid, old.st_gid)
        unfinished.chmod(stat.S_IMODE(old.st_mode))
    unfinished.replace(target)


def _print(finished: Path) -> None:
    """Copy a file to standard output."""
    try:
        with finished.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except OSError as error:
        silence(sys.stdout)
        raise Refused(f"standard output: {error.strerror}") from error


def silence(stream: object) -> None:
    """Let a stream that cannot be written go nowhere: Python would try again at its end."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # type: ignore[attr-defined]
        os.close(nowhere)
