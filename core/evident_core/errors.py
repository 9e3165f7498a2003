"""The one error tree of the suite.

::

    EvidentError
    ├── InvalidInput        422  the request or file was understood, and is wrong
    │   ├── NotThisService  422  a valid file of a kind that this service does not read
    │   └── PasswordNeeded  422  an encrypted file came without its (right) password
    ├── Unauthenticated     401  no key, or a key that is not known
    ├── Forbidden           403  a known key without the scope that is needed
    ├── NotFound            404  nothing is stored under that id
    ├── Conflict            409  the stored thing has changed, or is in a state that refuses this
    ├── TooLarge            413  more bytes, pages or pixels than the service reads
    ├── UnsupportedMedia    415  not the kind of bytes that the service reads
    ├── TooMany             429  the queue or a caller's share of it is full
    ├── Cancelled           499  the caller took the request back
    ├── MissingExtra        501  an optional part is not installed
    ├── ModelNotReady       503  weights or a needed program are absent
    ├── ResourceExceeded    507  reading the file took more memory or time than is allowed
    └── Unverified          500  a written sentence does not trace to its claims

A message is a sentence for a person: it names the value, and the way out. ``code`` is for machines and never changes;
``details`` carries the named values again, for programs.
"""

from typing import ClassVar


class EvidentError(Exception):
    """Something the suite refuses to do, said in a sentence for a person.

    Args:
        message: What was found, with the value named, and what to do about it.
        **details: The same values for programs; JSON-serialisable.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "error"
    title: ClassVar[str] = "Evident could not do this"

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def __reduce__(self) -> tuple[object, ...]:
        """Errors cross process borders (a file is parsed in a worker process) with their details."""
        return (_rebuild, (type(self), self.message, self.details))


def _rebuild(kind: type[EvidentError], message: str, details: dict[str, object]) -> EvidentError:
    return kind(message, **details)


class InvalidInput(EvidentError):
    """The request or file was understood, and is wrong."""

    status, code, title = 422, "invalid_input", "The input is not valid"


class NotThisService(InvalidInput):
    """A valid file of a kind that this service does not read."""

    code, title = "not_this_service", "This service does not read that kind of document"


class PasswordNeeded(InvalidInput):
    """An encrypted file came without its password, or with a wrong one."""

    code, title = "password_needed", "The file is encrypted"


class Unauthenticated(EvidentError):
    """No API key, or one that is not known."""

    status, code, title = 401, "unauthenticated", "An API key is needed"


class Forbidden(EvidentError):
    """A known key without the scope that is needed."""

    status, code, title = 403, "forbidden", "This is not allowed"


class NotFound(EvidentError):
    """Nothing is stored under that id."""

    status, code, title = 404, "not_found", "Not found"


class Conflict(EvidentError):
    """The stored thing has changed since it was read, or its state refuses this."""

    status, code, title = 409, "conflict", "The stored state refuses this"


class TooLarge(EvidentError):
    """More bytes, pages or pixels than the service reads."""

    status, code, title = 413, "too_large", "The input is too large"


class UnsupportedMedia(EvidentError):
    """Not the kind of bytes that the service reads."""

    status, code, title = 415, "unsupported_media", "The file type is not supported"


class TooMany(EvidentError):
    """The queue, or a caller's share of it, is full."""

    status, code, title = 429, "too_many", "Too many requests"


class Cancelled(EvidentError):
    """The caller took the request back."""

    status, code, title = 499, "cancelled", "Cancelled"


class MissingExtra(EvidentError):
    """An optional part is not installed; the message is the pip command that adds it."""

    status, code, title = 501, "missing_extra", "An optional part is not installed"


class ModelNotReady(EvidentError):
    """Weights or a needed program are absent."""

    status, code, title = 503, "not_ready", "Not ready"


class ResourceExceeded(EvidentError):
    """Reading the file took more memory or time than is allowed."""

    status, code, title = 507, "resource_exceeded", "The file needs more memory or time than is allowed"


class Unverified(EvidentError):
    """A written sentence states something that its claims do not."""

    code, title = "unverified", "A sentence does not trace to its source"
