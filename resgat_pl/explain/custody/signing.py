"""Detached ed25519 signatures of ``report.json`` (RFC 8032), as OpenSSL writes and checks them.

The keys are PEM files: ``openssl genpkey -algorithm ed25519 -out lab.key`` and ``openssl pkey -in lab.key -pubout -out
lab.pub``. A signature is the 64 bytes alone, so that ``openssl pkeyutl -verify`` checks it without this program.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final, cast

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.storage import write_atomic

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNATURE: Final = "report.json.sig"
"""Name of the signature beside a report."""
PASSWORD: Final = "RESGAT_KEY_PASSWORD"  # noqa: S105 - the name of a variable of the environment
"""Variable of the environment with the password of an encrypted key."""
_SIZE: Final = 64
_MOST: Final = 2**16
"""Bytes of a key file at most."""
_MAKE: Final = "Make one with: openssl genpkey -algorithm ed25519 -out lab.key"
_PUBLIC: Final = "It is written by: openssl pkey -in lab.key -pubout -out lab.pub"


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key, PEM; the password of an encrypted one is in the environment, ``RESGAT_KEY_PASSWORD``.

    Raises:
        ConfigError: The extra is not installed, the file cannot be read or holds no such key, or the password does not
            fit.
    """
    serialization, ed25519 = _modules()
    content, password = _content(path, "--sign"), os.environ.get(PASSWORD)
    try:
        key = serialization.load_pem_private_key(content, None if password is None else password.encode())
    except TypeError:  # a password where none is needed, or the other way round
        cause = "is encrypted: set its password as" if password is None else "is not encrypted: unset"
        raise ConfigError(f"--sign {path} {cause} {PASSWORD}.") from None
    except Exception as error:  # of several classes, by what OpenSSL meets first
        raise ConfigError(f"--sign {path} is no readable private key ({_said(error)}). {_MAKE}") from None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise ConfigError(f"--sign {path} is a key of another kind than ed25519. {_MAKE}")
    return cast("Ed25519PrivateKey", key)


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Read a public key, PEM.

    Raises:
        ConfigError: The extra is not installed, or the file cannot be read or holds no such key.
    """
    serialization, ed25519 = _modules()
    content = _content(path, "--public_key")
    if b"PRIVATE KEY" in content:
        raise ConfigError(f"--public_key {path} is a private key, which only its owner may have. {_PUBLIC}")
    try:
        key = serialization.load_pem_public_key(content)
    except Exception as error:  # of several classes, by what OpenSSL meets first
        raise ConfigError(f"--public_key {path} is no readable public key ({_said(error)}). {_PUBLIC}") from None
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise ConfigError(f"--public_key {path} is a key of another kind than ed25519. {_PUBLIC}")
    return cast("Ed25519PublicKey", key)


def sign_file(path: Path, key: Ed25519PrivateKey) -> Path:
    """Write the signature of a file beside it, ``NAME.sig``, 64 bytes, and return its path."""
    signature = path.with_name(f"{path.name}.sig")
    write_atomic(signature, key.sign(path.read_bytes()))
    return signature


def check_signature(content: bytes, signature: Path, public_key: Path) -> bool:
    """True if a signature is of this content and made by the owner of the key.

    Raises:
        ConfigError: A file cannot be read, or is no signature or key at all.
    """
    from cryptography.exceptions import InvalidSignature

    key = read_public_key(public_key)
    found = _content(signature, "--signature")
    if len(found) != _SIZE:
        raise ConfigError(
            f"--signature {signature} has {len(found)} bytes; one of ed25519 has {_SIZE}. resgat explain --sign writes "
            f"it beside the report, as {SIGNATURE}."
        )
    try:
        key.verify(found, content)
    except InvalidSignature:
        return False
    return True


def key_fingerprint(key: Ed25519PublicKey) -> str:
    """SHA-256 of the 32 bytes of a public key, by which people compare it over the telephone."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def _modules() -> tuple[ModuleType, ModuleType]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise ConfigError(
            'Signatures need the package cryptography, which is not installed: pip install "resgat-pl[custody]"'
        ) from None
    return serialization, ed25519


def _content(path: Path, option: str) -> bytes:
    try:
        if not path.is_file():
            raise ConfigError(f"{option} {path} is no file.")
        if path.stat().st_size > _MOST:
            raise ConfigError(f"{option} {path} is too large to be one ({path.stat().st_size:,} bytes).")
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{option} {path} cannot be read ({error.strerror}).") from None


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
