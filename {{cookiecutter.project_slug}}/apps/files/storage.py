"""Storages that hold nothing but files which this application encrypted.

A reader of the bucket, of its backups or of its disks sees names and sizes. Who can
write to it can destroy a file or bring back an old one of the same name, but not alter,
cut, exchange or rename one unnoticed.
"""

import posixpath
from functools import partial
from io import BufferedReader, BytesIO
from typing import IO, Any

import structlog
from botocore.exceptions import ClientError
from django.core.files.base import File
from django.core.files.storage import InMemoryStorage, Storage
from storages.backends.s3 import S3Storage
from storages.utils import ReadBytesWrapper, clean_name

from apps.files import stream
from apps.keys.errors import DecryptionError, UnknownKeyError
from apps.keys.keyring import Purpose, find_key, keyring

logger = structlog.get_logger(__name__)


class DecryptedFile(File):  # type: ignore[type-arg]  # not subscriptable at run time
    """A stored file, opened for reading its plaintext."""

    def __init__(self, storage: "EncryptedStorageMixin", name: str) -> None:
        super().__init__(storage.decrypt(name), name)
        self._storage = storage

    def open(self, *_args: Any, **_kwargs: Any) -> "DecryptedFile":
        """Go back to the beginning; a closed file is fetched and authenticated anew."""
        if self.closed:
            self.file = self._storage.decrypt(str(self.name))
        self.seek(0)
        return self


class EncryptedStorageMixin(Storage):
    """Encrypts all that another storage class, named after this one, is to store.

    The other class must store under exactly the name that its `_save` is given, and
    `_save` must replace what is there at once or not at all.
    """

    def _save(self, name: str, content: "File[bytes]") -> str:
        """Encrypt and store, without a copy of the plaintext."""
        if content.seekable():
            content.seek(0)
        key = keyring(Purpose.FILES).active
        encrypted = stream.encrypt(ReadBytesWrapper(content), self.object_name(name), key)
        saved: str = super()._save(name, File(encrypted))  # type: ignore[misc]
        return saved

    def _open(self, name: str, mode: str = "rb") -> DecryptedFile:
        if mode != "rb":
            raise ValueError(
                f"An encrypted file opens with the mode 'rb', not {mode!r}. To write: save()."
            )
        return DecryptedFile(self, name)

    def decrypt(self, name: str) -> BufferedReader:
        """Fetch a file and authenticate all of it; return its plaintext, which can be read.

        Raises `FileNotFoundError`, `DecryptionError` or `DataKeyError`.
        """
        stored = self.open_stored(name)
        try:
            return stream.decrypt(stored, self.object_name(name), partial(find_key, Purpose.FILES))
        except Exception as error:
            stored.close()
            if isinstance(error, DecryptionError | UnknownKeyError):
                logger.error("stored_file_refused", object=name, reason=str(error))
            raise

    def rewrite(self, name: str) -> None:
        """Encrypt a file anew, with the active key, and replace it at once.

        Whoever calls this keeps others from deleting the file meanwhile: it would come
        back. Raises as `decrypt` does, and then leaves the file as it is.
        """
        with self.open(name) as file:
            self._save(name, file)

    def key_id(self, name: str) -> bytes:
        """Return the id of the key that a file is encrypted with; only its head is read."""
        return stream.key_id(self.read_head(name))

    def size(self, name: str) -> int:
        """Return the size of the plaintext."""
        return stream.plain_size(self.stored_size(name))

    def url(self, name: str | None) -> str:
        """Refuse: the browser would get ciphertext."""
        raise NotImplementedError(
            "An encrypted file has no address of its own. Send it from a view, decrypted: "
            "FileResponse(file.open('rb'))."
        )

    # What differs between storages --------------------------------------------------

    def object_name(self, name: str) -> str:
        """Return the one name of the object, whichever way `name` is written."""
        return posixpath.normpath(name.replace("\\", "/"))

    def open_stored(self, name: str) -> IO[bytes]:
        """Open a file as it is stored."""
        stored: IO[bytes] = super()._open(name, "rb")  # type: ignore[misc]
        return stored

    def stored_size(self, name: str) -> int:
        """Return the size of a file as it is stored."""
        return super().size(name)

    def read_head(self, name: str) -> bytes:
        """Return the header of a file as it is stored."""
        with self.open_stored(name) as stored:
            return stored.read(stream.HEADER_SIZE)


class EncryptedS3Storage(EncryptedStorageMixin, S3Storage):  # type: ignore[misc]
    """Encrypted files in S3, where an upload replaces an object at once or not at all."""

    def object_name(self, name: str) -> str:
        """Return the object's key in the bucket."""
        key: str = self._normalize_name(clean_name(name))
        return key

    def read_head(self, name: str) -> bytes:
        """Fetch the header and no more."""
        wanted = f"bytes=0-{stream.HEADER_SIZE - 1}"
        try:
            response = self.bucket.Object(self.object_name(name)).get(Range=wanted)
        except ClientError as error:
            match error.response["ResponseMetadata"]["HTTPStatusCode"]:
                case 404:
                    raise FileNotFoundError(f"File does not exist: {name}") from error
                case 416:  # an empty object has no such range
                    return b""
            raise
        head: bytes = response["Body"].read()
        return head

    def get_object_parameters(self, name: str) -> dict[str, Any]:
        """Tell nothing of the plaintext: no media type, and no encoding guessed from a name."""
        parameters: dict[str, Any] = super().get_object_parameters(name)
        return parameters | {"ContentType": self.default_content_type}


class EncryptedInMemoryStorage(EncryptedStorageMixin, InMemoryStorage):
    """Encrypted files in this process's memory, for tests."""

    def open_stored(self, name: str) -> IO[bytes]:
        """Return a copy: `InMemoryStorage` has one position for all who read and write."""
        return BytesIO(super().open_stored(name).read())

    def stored_size(self, name: str) -> int:
        """Count the bytes: `InMemoryStorage.size` would open the file, and so decrypt it."""
        return len(self.open_stored(name).read())
