"""Paths of data, local or behind a URL such as ``s3://bucket/crops``: read, listed, and written atomically.

A local name is a plain ``pathlib.Path`` and is read and written by the operating system as ever. A URL becomes a
``UPath`` (universal_pathlib over fsspec): it has the interface of ``Path`` for joining, naming, ``stat`` and
``is_file``, and no ``__fspath__``, so that what can only read local files fails at once instead of making a folder
called ``s3:``.
Both are annotated ``Path``; whatever touches bytes or folders goes through the functions here.
"""

from __future__ import annotations

import errno
import glob
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from resgat_pl.core.errors import ConfigError

_PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "sftp": "paramiko",
    "ssh": "paramiko",
    "smb": "smbprotocol",
    "hf": "huggingface_hub",
}
"""Protocol → the package that speaks it."""

_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "oci", "memory"})
"""Object stores: a put is all or nothing, there are no folders to make, and making one could make a bucket."""

_TOGETHER = 256
"""Files asked for at once; a store answers them side by side."""


def locate(name: str | os.PathLike[str]) -> Path:
    """Return the path of a local name or a URL.

    Raises:
        ConfigError: Nothing is installed that reads this kind of URL, or there is no such kind.
    """
    if not isinstance(name, str):
        return cast("Path", name)
    protocol, separator, _ = name.partition("://")
    if not separator:
        return Path(name)
    from upath import UPath  # here: local work needs none of it

    try:
        path = UPath(name)
        _ = path.fs
    except ImportError:
        package = _PACKAGES.get(protocol, f"the fsspec implementation of {protocol}")
        raise ConfigError(f"{name}: reading {protocol}:// needs a package: pip install {package}") from None
    except ValueError as error:
        known = ", ".join(f"{kind}://" for kind in _PACKAGES)
        raise ConfigError(f"{name}: {error}. Name a local folder, or a URL such as {known}.") from None
    return Path(path) if isinstance(path, os.PathLike) else cast("Path", path)  # file:// needs nothing special


def is_remote(path: Path) -> bool:
    """True for a path behind a URL."""
    return not isinstance(path, os.PathLike)


def absolute(path: Path) -> Path:
    """The path as seen from any folder, ``~`` expanded."""
    return path if is_remote(path) else path.expanduser().absolute()


class Listing(NamedTuple):
    """Names in a folder: those of its folders, and those of everything else."""

    folders: list[str]
    files: list[str]


def listing(folder: Path) -> Listing:
    """List a folder with one request, or one system call per block of names.

    Raises:
        FileNotFoundError, NotADirectoryError: There is no such folder.
        OSError: It cannot be read.
    """
    found = Listing([], [])
    if is_remote(folder):
        fs, name = _fs(folder)
        with _as_os_error(folder):
            entries = fs.ls(name, detail=True)
        for entry in entries:
            own = entry["name"].rstrip("/").rpartition("/")[2]
            if entry["name"].strip("/") != name.strip("/"):  # stores list a folder's marker, or a file, as itself
                (found.folders if entry["type"] == "directory" else found.files).append(own)
        return found
    with os.scandir(folder) as entries:
        for entry in entries:
            (found.folders if _is_folder(entry) else found.files).append(entry.name)
    return found


def names_in(folder: Path, suffix: str = "") -> list[str]:
    """Names of the files in a folder, sorted; none if there is no folder: a bucket has no empty ones."""
    try:
        return sorted(name for name in listing(folder).files if name.endswith(suffix))
    except (FileNotFoundError, NotADirectoryError):
        return []


def refresh(folder: Path) -> None:
    """Forget what a store was last seen to hold, and make sure that it answers.

    Raises:
        ConfigError: It does not answer, or refuses.
    """
    if not is_remote(folder):
        return
    fs, name = _fs(folder)
    fs.invalidate_cache()
    try:
        with _as_os_error(folder):
            fs.ls(name, detail=True)
    except FileNotFoundError:
        return  # reported by whoever needs it
    except OSError as error:
        raise ConfigError(
            f"{folder} does not answer or may not be read: {error.strerror or error}. Check its name, the network, "
            f"your credentials, and the address of the store."
        ) from None


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        OSError: It cannot be read.
    """
    if not is_remote(path):
        return path.read_bytes()
    fs, name = _fs(path)
    with _as_os_error(path):
        return cast("bytes", fs.cat_file(name))


def read_range(path: Path, begin: int, size: int) -> bytes:
    """So many bytes of a file from one on, fewer at its end; one request of what lies behind a URL.

    Raises:
        OSError: It cannot be read.
    """
    if not is_remote(path):
        with path.open("rb", buffering=0) as file:
            file.seek(begin)
            return file.read(size)
    fs, name = _fs(path)
    with _as_os_error(path):
        return cast("bytes", fs.cat_file(name, begin, begin + size))


def readable(path: Path) -> Path | BytesIO:
    """A source that Arrow can read a file from: its path, or the content behind a URL.

    Raises:
        OSError: It cannot be read.
    """
    return BytesIO(read_bytes(path)) if is_remote(path) else path


def read_many(paths: Sequence[Path]) -> Iterator[bytes | OSError]:
    """The content of many files in order, or why one cannot be read; a store is asked for many at once."""
    if not paths or not is_remote(paths[0]):
        for path in paths:
            try:
                yield path.read_bytes()
            except OSError as error:
                yield error
        return
    fs = _fs(paths[0])[0]
    for start in range(0, len(paths), _TOGETHER):
        names = [_fs(path)[1] for path in paths[start : start + _TOGETHER]]
        with _as_os_error(paths[start]):
            found = fs.cat(names, on_error="return")
        found = {name.strip("/"): data for name, data in found.items()}  # in an order of the store's own
        for name in names:
            data = found.get(name.strip("/"), FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name))
            yield data if isinstance(data, bytes) else _os_error(data, paths[start])


def local_file(path: Path) -> IO[bytes] | None:
    """An unnamed local copy of a file behind a URL, open for reading; None for a local file.

    A decoder jumps to the index of a video and back and reads nearly all of it, and it is opened three times: one
    download costs less than its many small requests. Unnamed, so that nothing stays behind when a process is killed.

    Raises:
        OSError: It cannot be read.
    """
    if not is_remote(path):
        return None
    fs, name = _fs(path)
    copy = cast("IO[bytes]", tempfile.TemporaryFile())  # noqa: SIM115 - the caller closes it
    try:
        with _as_os_error(path), fs.open(name, "rb", block_size=2**24, cache_type="readahead") as source:
            shutil.copyfileobj(source, copy, 2**24)
    except BaseException:
        copy.close()
        raise
    copy.seek(0)
    return copy


def write_changed(path: Path, data: bytes) -> bool:
    """Write a file like ``write_atomic``, unless it has this content already: others may be using it.

    Returns:
        Whether it was written.
    """
    if not is_remote(path):
        with suppress(OSError):
            if path.stat().st_size == len(data) and path.read_bytes() == data:
                return False
    write_atomic(path, data)
    return True


def write_atomic(path: Path, data: bytes | memoryview) -> None:
    """Write a file so that a reader sees the old one, the new one or none, never half of one.

    A local file is written under a temporary name in the same folder and renamed when it is on the disk, so that this
    also holds after a power cut; an object store does as much itself.

    Raises:
        OSError: It cannot be written; it names the file. What was there before is there still.
    """
    if is_remote(path):
        _put(path, data)
        return
    try:
        unfinished = temporary_name(path)
        try:
            with unfinished.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        if error.errno is not None:
            error.filename, error.filename2 = str(path), None  # not the temporary name, or none at all
        raise


def temporary_name(path: Path) -> Path:
    """A name that nobody else chooses, for a local file until it gets the name ``path``; runs remove such names.

    Made by opening it, not by ``mkstemp``, a file has the permissions that the user wants of new files.
    """
    return path.with_name(f".{secrets.token_hex(8)}.tmp")


def sync_folder(folder: Path, files: bool = False) -> None:
    """Wait until the disk has a folder's names; local folders only.

    Args:
        folder: The folder.
        files: Before that, the content of all its files.

    Raises:
        OSError: It cannot be written, for example because the disk is full: some accept more than they have space for.
    """
    with os.scandir(folder) as entries:
        paths = [entry.path for entry in entries if entry.is_file()] if files else []
    for path in [*paths, str(folder)]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError as error:
            if path != str(folder) or error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # some network disks cannot
                error.filename = path
                raise
        finally:
            os.close(handle)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; object stores have none to make."""
    if not is_remote(folder):
        folder.mkdir(parents=True, exist_ok=True)
        return
    fs, name = _fs(folder)
    if not _is_store(fs):
        with _as_os_error(folder):
            fs.makedirs(name, exist_ok=True)


def remove_tree(folder: Path) -> None:
    """Remove a folder with everything in it, as far as it can be; nothing happens where there is none."""
    if not is_remote(folder):
        shutil.rmtree(folder, ignore_errors=True)
        return
    fs, name = _fs(folder)
    fs.invalidate_cache(name)  # other processes write there too
    with _as_os_error(folder):
        try:
            fs.rm(glob.escape(name), recursive=True)  # brackets in a name are no pattern
        except FileNotFoundError:
            return


def _put(path: Path, data: bytes | memoryview) -> None:
    fs, name = _fs(path)
    data = bytes(data)
    with _as_os_error(path):
        if _is_store(fs):
            fs.pipe_file(name, data)
            return
        folder, _, file = name.rpartition("/")
        temporary = f"{folder}/.{file}.{os.getpid()}.tmp"
        fs.pipe_file(temporary, data)
        fs.mv(temporary, name)


def _fs(path: Path) -> tuple[Any, str]:
    """The file system of a path behind a URL, and the path's name in it."""
    remote = cast("Any", path)
    return remote.fs, remote.path


def _is_store(fs: Any) -> bool:
    names = (fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol
    return not _STORES.isdisjoint(names)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


@contextmanager
def _as_os_error(path: Path) -> Iterator[None]:
    """Turn the errors of a store, which are its own, into ``OSError``."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise _os_error(error, path) from error


def _os_error(error: BaseException, path: Path) -> OSError:
    if isinstance(error, OSError):
        return error
    return OSError(errno.EIO, f"{type(error).__name__}: {error}", str(path))
