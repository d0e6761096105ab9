"""What can go wrong with keys and with what they encrypt. No message holds a value or a key."""


class DataKeyError(Exception):
    """A data key cannot be used."""


class KeyStoreError(DataKeyError):
    """The store of keys, or KMS, cannot be reached, refuses, or holds nothing readable."""


class UnknownKeyError(DataKeyError):
    """A stored value names a key that this process may not or cannot have."""


class WrongKeyError(DataKeyError):
    """What KMS gave back is not the key that the store names."""


class DecryptionError(Exception):
    """A stored value is not what this application wrote at this place."""


class AlteredValueError(DecryptionError):
    """The authentication tag does not match: the value was changed, or moved here."""


class MalformedValueError(DecryptionError):
    """The value is too short, or of no known version: cut off, or never encrypted."""
