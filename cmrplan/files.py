"""Reading and writing files so that nothing is ever half there.

Every file the product writes goes through :func:`atomic_write`: the content goes to a temporary
file in the same folder, is flushed to the disk, and takes the final name in one step. A crash, a
full disk or a kill leaves the old file or none.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cmrplan.errors import CmrplanError, InputError

TEMPORARY_PREFIX = ".cmrplan-"
"""The names of temporary files begin so; a killed process leaves them behind, and nobody else makes such names."""

MOST_BYTES = 2**30
"""Longest file that is read whole: a log of a million rows has a fifth of it."""

_SHORT = 2**16  # bytes

CHECKSUM = "checksum"
"""The entry of a JSON file that holds the checksum over all others."""

DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    CmrplanError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What a file whose content is of another form raises where it is taken apart."""


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path to write to; rename it to ``path`` when the block ends well.

    Missing parent folders are created. On any error the temporary file is removed and ``path`` stays as it was. A file
    that is there keeps its mode and its owner; a symbolic link stays, and the file that it names is written.

    Raises
    ------
    InputError
        If the folder cannot be written to, or :func:`writable_target` refuses ``path``.
    """
    target = writable_target(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=TEMPORARY_PREFIX)
    except OSError as error:
        raise _unwritable(path, error) from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())
        _take_mode(temporary, target)
        os.replace(temporary, target)
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        temporary.unlink(missing_ok=True)


def writable_target(path: str | os.PathLike[str]) -> Path:
    """Return the file that ``path`` names, symbolic links followed; nothing is written.

    Raises
    ------
    InputError
        If it is a folder, a device, a pipe or a socket, or a file that its mode or the system protects.
    """
    target = Path(os.path.realpath(path))
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return target
    except OSError as error:
        raise _unwritable(path, error) from None
    if stat.S_ISDIR(mode):
        raise InputError(f"cannot write {path}: it is a folder; give a file name")
    if not stat.S_ISREG(mode):
        raise InputError(
            f"cannot write {path}: it is a device, a pipe or a socket; give the name of a file"
        )
    # The system lets root write to everything, so the mode is asked as well.
    if not mode & 0o222 or not os.access(target, os.W_OK):
        raise InputError(
            f"cannot write {path}: the file is read-only; allow writing or choose another name"
        )
    return target


def _unwritable(path: str | os.PathLike[str], error: OSError) -> InputError:
    return InputError(f"cannot write {path}: {error.strerror or error}; choose another place")


def _take_mode(temporary: Path, target: Path) -> None:
    """Give the temporary file the mode and owner of the file it replaces, or the mode of a new one."""
    try:
        kept = target.stat()
    except FileNotFoundError:
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        return
    with suppress(PermissionError):  # Only root may give a file away.
        os.chown(temporary, kept.st_uid, kept.st_gid)
    temporary.chmod(stat.S_IMODE(kept.st_mode))


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` as indented JSON, atomically; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def require_regular(path: str | os.PathLike[str]) -> None:
    """Refuse what is no file on a disk: a pipe or a device may never end.

    Raises
    ------
    InputError
        If there is no such file, or it is a folder, a pipe, a device or a socket.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    if stat.S_ISDIR(mode):
        raise InputError(f"{path} is a folder; give a file")
    if not stat.S_ISREG(mode):
        raise InputError(
            f"{path} is a pipe, a device or a socket; save what it gives and name that file"
        )


def read_bytes(path: str | os.PathLike[str], *, most: int = MOST_BYTES) -> bytes:
    """Return the content of a file of at most ``most`` bytes.

    Raises
    ------
    InputError
        If :func:`require_regular` refuses it, it is longer, or it cannot be read.
    """
    require_regular(path)
    try:
        with open(path, "rb") as stream:
            # Room for all that is asked for is set aside first, which costs more than to read a short file.
            content = stream.read(min(_SHORT, most + 1))
            if len(content) == _SHORT:
                content += stream.read(most + 1 - _SHORT)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    if len(content) > most:
        raise InputError(f"{path} has more than {most:,} bytes, the most that such a file may have")
    return content


def read_text(path: str | os.PathLike[str], *, most: int = MOST_BYTES) -> str:
    """Return the text of a UTF-8 file (a leading byte-order mark is dropped).

    Raises
    ------
    InputError
        If :func:`read_bytes` refuses the file, or it is not UTF-8.
    """
    try:
        return read_bytes(path, most=most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 text (byte {error.start} is 0x{error.object[error.start]:02x}); "
            "save it as UTF-8"
        ) from None


def read_json(path: str | os.PathLike[str]) -> Any:
    """Return the value of a JSON file.

    Raises
    ------
    InputError
        If the file cannot be read, or is not JSON.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path} is not JSON (line {error.lineno}, column {error.colno}: {error.msg})"
        ) from None
    except RecursionError:
        raise InputError(f"{path} is not JSON that can be read (it is nested too deeply)") from None
    except ValueError:  # Python bounds the digits of an integer.
        raise InputError(
            f"{path} is not JSON that can be read (an integer has thousands of digits)"
        ) from None


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a file with the checksum over it as its last entry."""
    return content | {CHECKSUM: _checksum(content)}


def require_seal(path: str | os.PathLike[str], content: dict[str, Any], *, remedy: str) -> None:
    """Refuse content that is not what :func:`sealed` returned.

    Raises
    ------
    InputError
        Naming the file, and the remedy.
    """
    if CHECKSUM not in content:
        raise InputError(
            f"{path} is not what was written (its checksum is gone); it was edited, or is of version 0.2.0: {remedy}"
        )
    rest = {name: value for name, value in content.items() if name != CHECKSUM}
    if content[CHECKSUM] != _checksum(rest):
        raise InputError(
            f"{path} is not what was written (its checksum is of other content); it was edited or damaged: {remedy}"
        )


def _checksum(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


def fingerprint(value: Any) -> str:
    """Return 12 hex digits that identify a JSON-able value or bytes (SHA-256, cut)."""
    if not isinstance(value, bytes):
        value = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(value).hexdigest()[:12]
