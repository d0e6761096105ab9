"""Forms in which two spellings of a value count as the same, for searching."""

import unicodedata


def casefold(text: str) -> str:
    """Ignore case, as `str.casefold` defines it, on text in Unicode's form NFC."""
    if text.isascii():
        return text.lower()  # the same, sooner
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


# Lets `iexact` use the index.
casefold.ignores_case = True  # type: ignore[attr-defined]
