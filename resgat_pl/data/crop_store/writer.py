"""Writing of the crops of one video: as single files, or as one small tar to be packed into a shard."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Literal

from resgat_pl.core.errors import ManifestError
from resgat_pl.core.storage import (
    is_remote,
    make_folder,
    read_bytes,
    remove_tree,
    sync_folder,
    temporary_name,
    write_atomic,
)

Store = Literal["files", "shards"]
"""``files``: each crop a file. ``shards``: WebDataset tars, for disks that are slow with many small files."""


def video_hash(key: str) -> str:
    """Name of a video's fragment, and its place in the order of packing."""
    return hashlib.sha256(key.encode()).hexdigest()[:24]


class CropWriter:
    """Takes the crops and masks of one video; none has its name before all are on the disk.

    Files of a local disk are gathered in a folder with a temporary name that nobody else has, beside the fragments,
    where runs clean up. Waiting for the disk once per video and not once per file lets it write many at a time.

    Args:
        out: Folder of the data set's crops.
        key: The video's key.
        folder: Folder of the video's crops, relative to ``out``.
        store: Where they go.
    """

    def __init__(self, out: Path, key: str, folder: str, store: Store) -> None:
        self.out = out
        self.folder = out / folder
        self.loose = loose_path(out, key)
        self.unfinished = temporary_name(self.loose)
        self.tar = bytearray() if store == "shards" else None
        # Until the new one is written, the old fragment would list crops that are no longer there.
        fragment = self.loose.with_suffix(".parquet")
        if fragment.is_file():
            fragment.unlink()
            if not is_remote(out):
                sync_folder(fragment.parent)  # or a power cut could bring it back and not the crops
        self.discard()  # an earlier attempt, or other settings

    def add(self, name: str, data: bytes) -> None:
        """Take one file; its name is relative to ``out``.

        Raises:
            OSError: It cannot be written.
        """
        if self.tar is not None:
            append_member(self.tar, name, data)
            return
        if is_remote(self.out):
            make_folder(self.folder)
            write_atomic(self.out / name, data)
            return
        make_folder(self.unfinished)
        (self.unfinished / PurePosixPath(name).name).write_bytes(data)

    def link(self, name: str, path: Path) -> None:
        """Take a file that exists, by a hard link where the disk has them; its name is as for ``add``.

        Raises:
            OSError: It cannot be read or written.
        """
        if self.tar is None and not is_remote(self.out) and not is_remote(path):
            make_folder(self.unfinished)
            with suppress(OSError):
                (self.unfinished / PurePosixPath(name).name).hardlink_to(path)
                return
        self.add(name, read_bytes(path))

    def discard(self) -> None:
        """Remove what there is of the video."""
        remove_tree(self.folder)
        if not is_remote(self.out):
            remove_tree(self.unfinished)
        self.loose.unlink(missing_ok=True)
        if self.tar is not None:
            self.tar.clear()

    def finish(self) -> None:
        """Make sure that everything is on the disk, then give it its name.

        Raises:
            OSError: It is not.
        """
        if self.tar:
            write_atomic(self.loose, close_tar(self.tar))
        elif not is_remote(self.out) and self.unfinished.is_dir():
            sync_folder(self.unfinished, files=True)
            make_folder(self.folder.parent)
            remove_tree(self.folder)  # the same crops, by a worker that its cluster had given up
            self.unfinished.rename(self.folder)
            folder = self.folder
            while folder != self.out:  # those above it may be new as well
                folder = folder.parent
                sync_folder(folder)


def loose_path(out: Path, key: str) -> Path:
    """The small tar of a video that is not in a shard yet."""
    return out / "fragments" / f"{video_hash(key)}.tar"


def append_member(tar: bytearray, name: str, data: bytes) -> tuple[int, int]:
    """Add a file to a tar; the same content gives the same bytes, whoever writes it and when.

    Returns:
        Offset and size of the file's content.
    """
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mode = 0o644
    tar += info.tobuf(tarfile.PAX_FORMAT)
    offset = len(tar)
    tar += data
    tar += bytes(-len(data) % tarfile.BLOCKSIZE)
    return offset, len(data)


def close_tar(tar: bytearray) -> bytes:
    """The finished tar: two blocks of zeros, and more up to a whole record."""
    return bytes(tar) + bytes(2 * tarfile.BLOCKSIZE + -(len(tar) + 2 * tarfile.BLOCKSIZE) % tarfile.RECORDSIZE)


def read_tar(path: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Files of a small tar by name; nothing is unpacked, and links are not followed.

    Raises:
        ManifestError: It is damaged, or does not hold them.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(path.read_bytes()), mode="r:") as tar:  # never one that unpacks to more
            plain = {member.name: member for member in tar if member.isreg() and not member.issparse()}
            return {name: tar.extractfile(plain[name]).read() for name in names}  # type: ignore[union-attr] # it is for regular files
    except (tarfile.TarError, KeyError, ValueError, EOFError) as error:
        raise ManifestError(
            f"{path} does not hold the crops of its video ({error}). Remove it, and give the same command again."
        ) from None
