"""The key of encrypted images and caches: found, checked for form, and turned into one key per purpose."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from jsonargparse.typing import SecretStr as SecretStr
from jsonargparse.typing import register_type

from yolo.errors import UserError

# jsonargparse would refuse the mask that stands for a key in a saved config, and with it to resume from that config.
register_type(SecretStr, deserializer=SecretStr)

VARIABLE = "YOLO_ENCRYPTION_KEY"
OPTION = "data.encryption_key"
_DIGITS = 64


@dataclass(frozen=True, slots=True)
class EncryptionKey:
    """256 secret bits, which no printed form shows."""

    secret: bytes = field(repr=False)

    def derive(self, purpose: bytes, salt: bytes | None = None) -> bytes:
        """32 bytes for one `purpose` by HKDF-SHA256 (RFC 5869), so that no two uses share a key."""
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        return HKDF(SHA256(), length=32, salt=salt, info=purpose).derive(self.secret)


def find_key(given: SecretStr | str | None = None) -> EncryptionKey | None:
    """The key `given`, else that of the environment, else None.

    Raises:
        UserError: it is not 64 hexadecimal digits; the sentence does not quote it.
    """
    given = given.get_secret_value() if isinstance(given, SecretStr) else given
    source, text = OPTION, given or ""
    if not isinstance(text, str):
        raise UserError(f"{source}: YAML reads a key of digits alone as a number: write it in quotes")
    if not text.strip("*"):  # the mask that stands in the config saved with a run
        source, text = VARIABLE, os.environ.get(VARIABLE, "").strip()
    if not text:
        return None
    if not re.fullmatch(f"[0-9a-fA-F]{{{_DIGITS}}}", text):
        raise UserError(f"{source}: a key has {_DIGITS} hexadecimal digits, found {len(text)} characters of any kind")
    return EncryptionKey(bytes.fromhex(text))


def require_key(what: str, given: SecretStr | str | None = None, *, option: str | None = None) -> EncryptionKey:
    """The key, or a UserError that says that `what` ("cache.lmdb is encrypted") needs one.

    `option` is the one that takes a key, where the command has such an option.
    """
    key = find_key(given)
    if key is None:
        raise missing_key(what, option)
    return key


def missing_key(what: str, option: str | None = None) -> UserError:
    """The error that says that `what` needs a key, from the environment or `option`."""
    other = f" or {option}" if option else ""
    return UserError(f"{what}, and there is no key: set {VARIABLE} ({_DIGITS} hexadecimal digits){other}")
