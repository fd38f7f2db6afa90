"""A store in a bucket: Amazon S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from datetime import timedelta
from threading import Thread, current_thread, main_thread
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from probeline.errors import StoreFailed
from probeline.files.reading import FileKind

if TYPE_CHECKING:
    import obstore.store

_RETRY_SECONDS = 60
"""How long a call is tried again; what fails is mostly a server that is busy for seconds, or rights that are wrong."""


_POLL_SECONDS = 0.5
"""An interrupt just before a wait is noticed when it ends."""

_NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|specified bucket does not exist")
"""How the services say that not an object is missing but its bucket."""


Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def _interruptible(call: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Let an interrupt end the main thread's wait for a call: obstore notices none until its server answers."""

    @functools.wraps(call)
    def wait(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        if current_thread() is not main_thread():
            return call(*args, **kwargs)
        future = futures.Future[Result]()

        def run() -> None:
            try:
                future.set_result(call(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        Thread(target=run, name="store", daemon=True).start()
        while not future.done():
            futures.wait([future], _POLL_SECONDS)
        return future.result()

    return wait


class ObjectStore:
    """The objects of a bucket below a prefix, through obstore.

    Parameters
    ----------
    client : obstore.store.ObjectStore
        Of the bucket and prefix.
    url : str
        Its address, for messages.
    """

    def __init__(self, client: obstore.store.ObjectStore, url: str) -> None:
        self._client, self._url = client, url.rstrip("/")

    @classmethod
    def of_url(cls, url: str) -> ObjectStore:
        """Return the store of an address; region, endpoint and credentials are those of the provider's own variables.

        For ``s3://`` they are looked up by boto3 if that is installed: in its files of profiles too.
        """
        from obstore.store import from_url

        with _failures_named(url):
            options = _boto3_options() if url.startswith("s3://") and importlib.util.find_spec("boto3") else {}
            client = from_url(
                url,
                client_options=_client_options(),
                retry_config={"max_retries": 6, "retry_timeout": timedelta(seconds=_RETRY_SECONDS)},
                **options,
            )
        return cls(client, url)

    @_interruptible
    def read(self, name: str, kind: FileKind) -> bytes | None:
        """Return the bytes of an object; None if it does not exist."""
        import obstore

        with _failures_named(self.address(name)):
            try:
                found = obstore.get(self._client, name)
            except FileNotFoundError as error:
                if _NO_BUCKET.search(str(error)):
                    raise
                return None
            if found.meta["size"] > kind.most_bytes:
                raise StoreFailed(
                    f"too large for {kind.name}",
                    where=self.address(name),
                    expected=f"at most {kind.most_bytes:,} bytes",
                    got=f"{found.meta['size']:,}",
                )
            return bytes(found.bytes())

    @_interruptible
    def publish(self, name: str, data: bytes) -> bool:
        """Write an object, whole or not at all; False if one of this name exists, which is left as it is."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with _failures_named(self.address(name)):
            try:
                obstore.put(self._client, name, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
        return True

    @_interruptible
    def exists(self, name: str) -> bool:
        """Return whether an object exists at this moment."""
        import obstore

        with _failures_named(self.address(name)):
            try:
                obstore.head(self._client, name)
            except FileNotFoundError:  # or its bucket is: the answer to this question has no words
                return False
        return True

    @_interruptible
    def names_in(self, folder: str) -> set[str]:
        """Return the names of the objects in a folder, without it; of a service that lists late the latest may miss."""
        import obstore

        with _failures_named(self.address(folder)):
            pages = obstore.list(self._client, f"{folder}/", chunk_size=1000)
            return {item["path"].removeprefix(f"{folder}/") for page in pages for item in page}

    def address(self, name: str) -> str:
        """Return where an object is, for messages."""
        return f"{self._url}/{name}"


def _boto3_options() -> dict[str, Any]:
    import boto3
    from obstore.auth.boto3 import Boto3CredentialProvider

    session = boto3.session.Session()
    # Without any, obstore's own ways are left: a bucket that everybody may read needs none.
    return {} if session.get_credentials() is None else {"credential_provider": Boto3CredentialProvider(session)}


def _client_options() -> Any:
    # Options that are given here take the place of all that obstore reads of the environment.
    allowed = any(os.environ.get(f"{name}_ALLOW_HTTP", "").lower() in ("1", "true") for name in ("AWS", "AZURE"))
    return {"connect_timeout": "10 seconds", "timeout": "10 minutes", "allow_http": allowed}


@contextmanager
def _failures_named(address: str) -> Iterator[None]:
    """Raise what obstore and the lookup of credentials raise as `StoreFailed`."""
    try:
        yield
    except (StoreFailed, MemoryError):
        raise
    except Exception as error:  # of credentials boto3 raises errors of its own
        raise StoreFailed(
            "the store does not answer as it should",
            where=address,
            got=_shown(error),
            remedy="check the bucket's name and region, the credentials and the connection, then run again: "
            "what is finished is kept",
        ) from error


def _shown(error: Exception) -> str:
    """Return what a service says, without the query of an address, in which a key may be."""
    text = re.sub(r"\?\S*", "", str(error).partition("Debug source")[0])
    code = re.search(r"<Code>([\w. -]{1,80})</Code>", text)
    message = re.search(r"<Message>([^<]{1,200})</Message>", text)
    if code:
        return f"{code[1]}: {message[1]}" if message else code[1]
    return re.sub(r"\s+", " ", text)[:300] or type(error).__name__
