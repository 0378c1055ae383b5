"""What a client gets and gives back as it is, such as event ids: sealed, because counters would tell how busy
others are."""

import base64
import binascii
import json
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

KEY_BYTES = 64  # AES-256 in SIV mode (RFC 5297)
TEXT = "[A-Za-z0-9_-]+"  # the form of what is sealed: base64url without padding (RFC 4648, section 5)
FRESH = 9  # random bytes of what must not be equal to itself


class Opaque:
    """Seals texts with one key: only its holder can read, change or make one."""

    def __init__(self, key: bytes) -> None:
        """`key` has `KEY_BYTES` bytes."""
        self._key, self._cipher = key, AESSIV(key)

    def within(self, *context: str) -> "Opaque":
        """Seals with a key of its own for this context (RFC 5869), which is cheaper if there is much to seal.

        What it seals, only the same context opens.
        """
        derived = HKDFExpand(hashes.SHA512(), KEY_BYTES, json.dumps(context).encode()).derive(self._key)
        return Opaque(derived)

    def seal(self, text: str, *context: str) -> str:
        """An ASCII text, sealed. `context` is what it is for, and for whom; nobody else can open it."""
        sealed = self._cipher.encrypt(text.encode(), [part.encode() for part in context])
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def open(self, sealed: str, *context: str) -> str | None:
        """The text; None if it was not sealed with this key and for this context."""
        try:
            data = base64.urlsafe_b64decode(sealed.encode() + b"=" * (-len(sealed) % 4))
            return self._cipher.decrypt(data, [part.encode() for part in context]).decode()
        except (binascii.Error, InvalidTag, ValueError):
            return None

    def seal_number(self, number: int, *context: str) -> str:
        """A number from 0, sealed. Each call has another result: that it has not grown is not seen either."""
        return self.seal(f"{secrets.token_hex(FRESH)}{number:020}", *context)

    def open_number(self, sealed: str, *context: str) -> int | None:
        """The number; None as in `open`."""
        text = self.open(sealed, *context)
        return None if text is None else int(text[2 * FRESH :])
