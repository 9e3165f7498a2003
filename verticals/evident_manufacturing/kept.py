"""Values that are costly to make and never change under their key, the last few of them kept in memory."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Generic, TypeVar

ValueT = TypeVar("ValueT")


class Kept(Generic[ValueT]):
    """The last few values by key, each made once: what is kept never changes under its key."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[str, ValueT] = OrderedDict()
        self._lock = Lock()

    def get(self, key: str, make: Callable[[], ValueT]) -> ValueT:
        """The value of a key, made if it is not there."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        with self._lock:
            self._values[key] = value
            while len(self._values) > self._size:
                self._values.popitem(last=False)
        return value

    def missing(self, keys: Iterable[str]) -> list[str]:
        """The keys whose values would have to be made, for who makes many at once."""
        with self._lock:
            return [key for key in keys if key not in self._values]
