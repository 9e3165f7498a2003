"""Who is asking, and what they may do: API keys with scopes, and the open mode of a machine's own user.

Without any key, a service that listens on loopback is open to the person at the machine. With keys, every request needs
one: in ``Authorization: Bearer evd_…``, or, for a person at a page, given once on the sign-in page.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from flask import Flask, g, request, session
from sqlalchemy import select, update

from evident_core.errors import Forbidden, InvalidInput, NotFound, Unauthenticated
from evident_core.evidence import Frozen
from evident_core.services import installed
from evident_core.settings import Settings
from evident_core.web.audit import Audit
from evident_core.web.logs import KEY_PREFIX
from evident_core.web.openapi import scope_of
from evident_core.web.security import check_csrf, is_loopback
from evident_core.web.store import Store
from evident_core.web.tables import ApiKey, now

SCOPES: Final = ("read", "write", "metrics", "admin")
"""``read``: see what is one's own; ``write``: upload, correct, delete; ``metrics``: scrape; ``admin``: all of it.
``finance:write`` is the scope in that service alone."""

ALL_SCOPES: Final = ("admin",)
SESSION_KEY: Final = "key_id"
LAST_USED_STEP: Final = timedelta(minutes=1)


@dataclass(frozen=True)
class Caller:
    """Who asks. ``id`` owns what the caller stores; ``by_header`` tells a program from a person at a page."""

    id: str
    name: str
    scopes: tuple[str, ...]
    by_header: bool = False

    def may(self, scope: str, service: str = "") -> bool:
        """Whether the caller has that scope, everywhere or in that service."""
        return scope == "public" or bool({"admin", scope, f"{service}:{scope}", f"{service}:admin"} & set(self.scopes))


LOCAL: Final = Caller(id="local", name="local", scopes=ALL_SCOPES)
NOBODY: Final = Caller(id="", name="", scopes=())


class KeyInfo(Frozen):
    """A key without its secret."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created: datetime
    last_used: datetime | None = None
    revoked: datetime | None = None


class Keys:
    """The API keys. One is shown once, when it is made; the store keeps its SHA-256 (256 random bits need no salt)."""

    def __init__(self, store: Store, audit: Audit) -> None:
        self._store = store
        self._audit = audit

    def create(
        self, name: str, scopes: tuple[str, ...] = ("read", "write"), *, actor: str = "cli"
    ) -> tuple[str, KeyInfo]:
        """Make a key and return it with its description; it cannot be shown again.

        Raises:
            InvalidInput: The name is empty or too long, or there is no such scope.
        """
        if not name.strip() or len(name) > 127:
            raise InvalidInput(f"A key's name has 1 to 127 characters; {name!r} has {len(name)}.", name=name)
        for scope in scopes:
            _known_scope(scope)
        if not scopes:
            raise InvalidInput(f"A key without a scope may do nothing; give some of: {', '.join(SCOPES)}.")
        key = KEY_PREFIX + secrets.token_urlsafe(32)
        with self._store.session() as rows:
            row = ApiKey(name=name.strip(), key_hash=_hash(key), scopes=list(dict.fromkeys(scopes)))
            rows.add(row)
            rows.flush()
            info = _info(row)
            self._audit.append(rows, actor, "key.create", info.id, name=info.name, scopes=list(info.scopes))
        return key, info

    def list(self) -> tuple[KeyInfo, ...]:
        """All keys, revoked ones too, oldest first."""
        with self._store.reading() as rows:
            return tuple(_info(row) for row in rows.scalars(select(ApiKey).order_by(ApiKey.created, ApiKey.id)))

    def revoke(self, key_id: str, *, actor: str = "cli") -> KeyInfo:
        """Make a key worthless from now on; what it owns stays.

        Raises:
            NotFound: There is no key of that id.
        """
        with self._store.session() as rows:
            row = rows.get(ApiKey, key_id)
            if row is None:
                raise NotFound(f"There is no key {key_id!r}; `evident keys list` shows those there are.", id=key_id)
            if row.revoked is None:
                row.revoked = now()
                self._audit.append(rows, actor, "key.revoke", key_id, name=row.name)
            return _info(row)

    def any(self) -> bool:
        """Whether keys are in use. A revoked key counts: revoking the last one must not open the doors."""
        with self._store.reading() as rows:
            return rows.scalar(select(ApiKey.id).limit(1)) is not None

    def caller(self, key: str, *, by_header: bool = True) -> Caller | None:
        """Whose key that is, or None if it is nobody's or revoked."""
        digest = _hash(key)
        with self._store.reading() as rows:
            row = rows.scalar(select(ApiKey).where(ApiKey.key_hash == digest))
        if row is None or not hmac.compare_digest(row.key_hash, digest) or row.revoked is not None:
            return None
        if row.last_used is None or now() - row.last_used > LAST_USED_STEP:
            with self._store.session() as rows:
                rows.execute(update(ApiKey).where(ApiKey.id == row.id).values(last_used=now()))
        return Caller(row.id, row.name, tuple(row.scopes), by_header)

    def caller_of(self, key_id: str) -> Caller | None:
        """Who signed in with the key of that id, or None if it has been revoked since."""
        with self._store.reading() as rows:
            row = rows.get(ApiKey, key_id)
        return None if row is None or row.revoked is not None else Caller(row.id, row.name, tuple(row.scopes))


def _known_scope(scope: str) -> None:
    service, _, plain = scope.rpartition(":")
    if plain not in SCOPES or (service and service not in installed()):
        raise InvalidInput(
            f"{scope!r} is not a scope; there are {', '.join(SCOPES)}, each also for one service, as in finance:read.",
            scope=scope,
        )


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _info(row: ApiKey) -> KeyInfo:
    return KeyInfo(
        id=row.id,
        name=row.name,
        scopes=tuple(row.scopes),
        created=row.created,
        last_used=row.last_used,
        revoked=row.revoked,
    )


def refuse_open_doors(settings: Settings, keys: Keys) -> None:
    """Refuse to start where others reach the service and no key is asked of them.

    Raises:
        InvalidInput: The address is not loopback and there are no keys.
    """
    if not is_loopback(settings.web.host) and not keys.any():
        raise InvalidInput(
            f"{settings.web.host} can be reached from other machines, and there are no API keys. Make one with "
            "`evident keys create NAME`, or listen on 127.0.0.1.",
            host=settings.web.host,
        )


def guard(app: Flask, service: str, keys: Keys, *, placeholder_keys: bool = False) -> None:
    """Ask every request of an app who it is from, whether it may, and whether its form is genuine.

    Args:
        app: The app.
        service: Whose scopes count beside the general ones.
        keys: The keys there are.
        placeholder_keys: Whether a key that is sent counts as none as long as there are none: clients of the OpenAI
            API always send one.
    """

    @app.before_request
    def _enter() -> None:
        g.caller = identify(keys, placeholder_keys=placeholder_keys)
        if request.url_rule is None or request.endpoint is None or request.endpoint == "static":
            return
        scope = scope_of(app.view_functions[request.endpoint], request.method)
        if not g.caller.may(scope, service):
            if g.caller is NOBODY:
                raise Unauthenticated(
                    "This needs an API key: send Authorization: Bearer evd_…, or sign in.", scope=scope
                )
            raise Forbidden(
                f"The key {g.caller.name!r} has no scope {scope!r}; it has {', '.join(g.caller.scopes)}.", scope=scope
            )
        if not g.caller.by_header:
            check_csrf(app)


def identify(keys: Keys, *, placeholder_keys: bool = False) -> Caller:
    """Who sends this request: the bearer of a key, a signed-in person, the machine's own user, or nobody.

    For ``placeholder_keys`` see `guard`.

    Raises:
        Unauthenticated: A key is given and is not valid; it is never taken for no key.
    """
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    given = given.strip() if kind.lower() == "bearer" else request.headers.get("X-Api-Key", "")
    if given and not (placeholder_keys and not keys.any()):
        caller = keys.caller(given)
        if caller is None:
            raise Unauthenticated("The API key is not known or has been revoked; ask for a new one.")
        return caller
    if signed_in := session.get(SESSION_KEY):
        return keys.caller_of(signed_in) or NOBODY
    return NOBODY if keys.any() else _local()


def _local() -> Caller:
    """The machine's own user, if the request names this machine: a foreign name that was pointed here does not."""
    host = request.host.rpartition(":")[0] if request.host.rpartition(":")[2].isdigit() else request.host
    if not is_loopback(host):
        raise Forbidden(f"Without API keys this service answers only to localhost, not to {host!r}.", host=host)
    return LOCAL
