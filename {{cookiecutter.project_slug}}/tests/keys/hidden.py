"""Says whether a text shows bytes, in whichever form, whole or in part."""

import base64
import html
from collections.abc import Iterator

_PART = 12  # bytes; a message may be cut off, and so may what it shows
_STEP = 4  # bytes; no multiple of 3: base64 looks different at each place modulo 3


def forms(secret: bytes) -> Iterator[str]:
    """Yield the ways in which programs show a part of a secret."""
    for start in range(0, len(secret) - _PART + 1, _STEP):
        part = secret[start : start + _PART]
        if part == bytes(_PART):
            continue  # an empty slot of an index
        yield part.hex()
        yield part.hex().upper()
        yield repr(part)[2:-1]
        yield part.decode("latin-1")
        yield base64.b64encode(part).decode()
        yield base64.urlsafe_b64encode(part).decode()


def shows(text: str, *secrets: bytes | str) -> list[str]:
    """Return every form in which a text shows a part of one of the secrets."""
    plain = html.unescape(text).replace("\\\\", "\\")  # as in HTML and in JSON
    found = []
    for secret in secrets:
        raw = secret.encode() if isinstance(secret, str) else secret
        assert len(raw) >= _PART
        found += [form for form in forms(raw) if form in text or form in plain]
    return found
