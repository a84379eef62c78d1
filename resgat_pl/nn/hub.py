"""Models on the Hugging Face hub: ``hf://owner/name`` fetched as a folder, and folders sent there.

huggingface_hub's ``PyTorchModelHubMixin`` is not used: where there is no ``model.safetensors`` it reads a pickle, it
loads weights that fit in part, without hashes, and takes the arguments of a network from a file as they are. It would
also make huggingface_hub a requirement of the network's class. Here three files are fetched and sent, whatever else is
there.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from resgat_pl import __version__
from resgat_pl.core.errors import ConfigError, StorageError, WeightsError
from resgat_pl.core.text import first_line
from resgat_pl.nn.hub_folder import FILES, check_folder

SCHEME: Final = "hf://"
_NAMED: Final = re.compile(r"hf:/{1,2}(?P<name>[^/@]+/[^/@]+)(?:@(?P<revision>.+))?")
"""One slash is what ``Path`` makes of two."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_WEIGHTS: Final = frozenset({".ckpt", ".pth", ".pt", ".safetensors", ".onnx", ".pt2"})
_LIBRARY: Final = "resgat_pl"


class HubName(NamedTuple):
    """A model of the hub.

    Attributes:
        name: ``owner/name``.
        revision: Branch, tag or commit; None for the newest state of ``main``.
    """

    name: str
    revision: str | None = None


def hub_name(path: str | Path) -> HubName | None:
    """The model that ``hf://owner/name`` or ``hf://owner/name@revision`` names; None for a local path.

    Example:
        >>> hub_name("hf://ann/resgat@v1")
        HubName(name='ann/resgat', revision='v1')
        >>> hub_name("runs/ffpp/checkpoints/best.ckpt") is None
        True
    """
    found = _NAMED.fullmatch(str(path))
    return None if found is None else HubName(found["name"], found["revision"])


def local_copy(path: str | Path) -> Path:
    """The local folder of a model of the hub, fetched if it is not there; any other path as it is.

    Raises:
        ConfigError: huggingface_hub is not installed.
        WeightsError: The hub does not give it; says which files go where.
    """
    found = hub_name(path)
    return Path(path) if found is None else _fetched(found)


def find_folder(place: str | Path, revision: str | None = None) -> Path:
    """The folder of a shared detector, for Python, where ``owner/name`` is enough.

    Args:
        place: A local folder, ``owner/name`` or ``hf://owner/name``; a local folder of that name comes first.
        revision: Branch, tag or commit of the hub.

    Raises:
        ConfigError: A revision is given with a local folder or twice, or huggingface_hub is not installed.
        WeightsError: As ``local_copy``.
    """
    found = hub_name(place)
    if found is None and not Path(place).exists() and _PLAIN.fullmatch(str(place)):
        found = HubName(str(place))
    if revision is not None and (found is None or found.revision is not None):
        raise ConfigError(f"revision is {revision!r}, but {place} is a local path or names one: leave it out.")
    return Path(place) if found is None else _fetched(HubName(found.name, revision or found.revision))


def hint_at_hub(path: str | Path) -> str:
    """A sentence for a message that there is no such path, if it may be meant as a model of the hub; else empty.

    Example:
        >>> hint_at_hub("ann/resgat")
        ' A model of the hub is given as hf://ann/resgat.'
    """
    meant = _PLAIN.fullmatch(str(path)) and Path(path).suffix not in _WEIGHTS
    return f" A model of the hub is given as {SCHEME}{path}." if meant else ""


def display_name(path: Path) -> str:
    """The name of a checkpoint's file or folder; of a fetched model its name on the hub and its commit.

    Example:
        >>> display_name(Path("runs/a/checkpoints/best.ckpt"))
        'best.ckpt'
        >>> display_name(Path("hub/models--ann--resgat/snapshots/0123456789abcdef"))
        'ann/resgat@0123456789ab'
    """
    kind, *parts = path.parent.parent.name.split("--")
    if path.parent.name == "snapshots" and kind == "models" and parts:
        return f"{'/'.join(parts)}@{path.name[:12]}"
    return path.name


def push_folder(
    folder: str | Path,
    name: str,
    private: bool = True,
    revision: str | None = None,
    token: str | None = None,
    message: str = "Add a detector of resgat_pl",
) -> str:
    """Send a folder of ``resgat export --format hub`` or ``save_pretrained`` to the hub: its three files, nothing else.

    Args:
        folder: The folder; its hashes are checked first.
        name: ``owner/name``; made if there is none.
        private: Whether a new repository is seen by its owner alone.
        revision: Branch; None for ``main``.
        token: Of the hub; None takes that of ``hf auth login``.
        message: Of the commit.

    Returns:
        Address of the commit.

    Raises:
        ConfigError: huggingface_hub is not installed, or ``name`` is no name.
        WeightsError: The folder is damaged, or holds code.
        StorageError: The hub does not take it.
    """
    found = hub_name(name) or HubName(name)
    if not _PLAIN.fullmatch(found.name) or found.revision is not None:
        raise ConfigError(f"{name} is no name on the hub: give owner/name.")
    check_folder(folder)
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise ConfigError(_NO_PACKAGE) from None
    try:
        api = HfApi(token=token, library_name=_LIBRARY, library_version=__version__)
        api.create_repo(found.name, private=private, exist_ok=True)
        done = api.upload_folder(
            repo_id=found.name,
            folder_path=folder,
            allow_patterns=list(FILES),
            commit_message=message,
            revision=revision,
        )
    except Exception as error:  # of its own classes, of its HTTP library, or of the operating system
        raise StorageError(
            f"{folder} was not sent to {found.name} ({first_line(error)}). Log in with hf auth login, and check that "
            f"the name is yours. The folder is complete: send it later, or with hf upload {found.name} {folder}."
        ) from error
    return str(done.commit_url)


_NO_PACKAGE: Final = 'huggingface_hub is not installed, which models of the hub need: pip install "resgat-pl[hub]"'


@cache
def _fetched(model: HubName) -> Path:
    """Fetched once a process, so that a command sees one state of a branch."""
    try:
        from huggingface_hub import constants, snapshot_download
        from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
    except ImportError:
        raise ConfigError(_NO_PACKAGE) from None
    shown = f"{SCHEME}{model.name}" + (f"@{model.revision}" if model.revision else "")
    try:
        return Path(
            snapshot_download(
                model.name,
                revision=model.revision,
                allow_patterns=list(FILES),
                library_name=_LIBRARY,
                library_version=__version__,
            )
        )
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise WeightsError(
            f"The hub has no model {shown}, or it is private ({first_line(error)}). Check the name, or log in with hf "
            "auth login."
        ) from error
    except Exception as error:  # of its other classes, of its HTTP library, or of the operating system
        raise WeightsError(
            f"Cannot fetch {shown} ({first_line(error)}). Without network, download {', '.join(FILES)} of that model "
            f"elsewhere into one folder and give that folder, or copy the hub's cache to {constants.HF_HUB_CACHE} "
            "(HF_HOME moves it)."
        ) from error
