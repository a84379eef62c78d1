"""Errors that a user can cause and fix.

Every message names what was wrong, the value received and the remedy. The command line prints these without a
traceback and exits with ``status``; anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar


class ResGATError(Exception):
    """Base of every error that a user's input can raise.

    Attributes:
        status: Exit status of the command line.
    """

    status: ClassVar[int] = 2


class ConfigError(ResGATError):
    """A configuration value is missing, unknown, or contradicts another one."""


class DatasetNotFoundError(ResGATError):
    """A data set root is missing, empty, or has none of the known layouts."""


class SomeRunsError(ResGATError):
    """Some of many runs failed; the others are in the tables. The exit status differs from that of no result at all."""

    status = 1


class LayoutError(ResGATError):
    """A data set has a known layout but one of its files contradicts it."""


class MediaError(ResGATError):
    """A video or image cannot be decoded, or holds nothing to use."""


class SomeMediaError(MediaError):
    """Some of many files cannot be decoded; the others were judged. The exit status is as of ``SomeRunsError``."""

    status = 1


class EngineError(ResGATError):
    """The processes or the cluster that should do the work died or do not answer."""


class StorageError(ResGATError):
    """Results cannot be stored: the disk is full, or a bucket refuses them."""


class ManifestError(ResGATError):
    """A manifest is missing, malformed, stale, or made by an incompatible version."""


class SplitError(ResGATError):
    """A split cannot be made: unknown ids, overlap, an empty or one-class part."""


class WeightsError(ResGATError):
    """Pretrained weights or a checkpoint are missing, unreadable, or of another architecture."""


class LeakageError(SplitError):
    """The same video, person or picture is on both sides of a split. The exit status is that of a finding."""

    status = 1


class VerificationError(ResGATError):
    """A report, a file that it names or its signature does not fit. The exit status is that of a finding."""

    status = 1


class NonFiniteError(ResGATError):
    """A loss, an output or a weight became NaN or infinite: the run stops, its last good checkpoint stays."""


class Stopped(ResGATError):  # noqa: N818 - no error: the user or the batch system asked for it
    """Training was stopped by a signal and stored its state: the same command continues.

    Its status is that of ``EX_TEMPFAIL`` in ``sysexits.h``, on which scripts try again.
    """

    status = 75
    checkpoint: str | None = None
    """Path of the state."""


class Interrupted(Stopped):
    """Ctrl-C."""

    status = 130


class Requeued(Stopped):
    """SLURM was asked to start the job again: nothing is left to do."""

    status = 0


@contextmanager
def values_refused(what: str) -> Iterator[None]:
    """Turn errors of other packages' classes about a value into a ``ConfigError``.

    An error that comes out of this package's own code is a bug and stays as it is.

    Args:
        what: Option that holds the values, for the message.

    Raises:
        ConfigError: See above.
    """
    try:
        yield
    except Exception as error:
        # by its name, since this module imports nothing: how Lightning says that options do not go together
        refusal = isinstance(error, ValueError | TypeError) or type(error).__name__ == "MisconfigurationException"
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        ours = trace is None or str(trace.tb_frame.f_globals.get("__name__")).startswith("resgat_pl")
        if not refusal or ours:
            raise
        raise ConfigError(f"{what} cannot be used: {' '.join(str(error).split())[:600]}") from error
