"""What keeps other sites and other people out: security headers, loopback, form tokens."""

import ipaddress
import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from flask import Flask, Response, request, session
from flask.sessions import SecureCookieSessionInterface
from itsdangerous import BadSignature, URLSafeTimedSerializer

from evident_core.errors import Forbidden

CSRF_FIELD: Final = "csrf_token"
CSRF_HEADER: Final = "X-CSRF-Token"
CSRF_SECONDS: Final = 12 * 3600
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data: blob:",
            "font-src 'self'",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=(), interest-cohort=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that address."""
    name = host.strip("[]")
    if name in ("localhost", ""):
        return name == "localhost"
    with suppress(ValueError):
        return ipaddress.ip_address(name).is_loopback
    return False


class _Sessions(SecureCookieSessionInterface):
    """Session cookies that came over HTTPS go back over HTTPS alone."""

    def get_cookie_secure(self, app: Flask) -> bool:  # noqa: ARG002
        return request.is_secure


def secure(app: Flask) -> None:
    """Send the security headers with every answer and check the token of every form."""
    app.config.update(
        SESSION_COOKIE_NAME="evident_session",
        SESSION_COOKIE_PATH="/",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
    )

    app.session_interface = _Sessions()

    @app.after_request
    def _headers(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if request.is_secure:
            response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        if request.endpoint != "static" and "Cache-Control" not in response.headers:
            response.headers["Cache-Control"] = "no-store"
        return response

    app.jinja_env.globals["csrf_token"] = lambda: csrf_token(app)


def csrf_token(app: Flask) -> str:
    """A token for a form of this visitor: the session's own random name, signed and dated."""
    if "visitor" not in session:
        session["visitor"] = secrets.token_urlsafe(16)
    return str(_signer(app).dumps(session["visitor"]))


def check_csrf(app: Flask) -> None:
    """Refuse a changing request that a foreign page may have sent in the visitor's name.

    Requests that no browser sends (no cookie, no origin) carry no authority that a foreign page could borrow, so
    command line programs need no token; those with a key in a header are not asked either (see `auth`).

    Raises:
        Forbidden: The token is missing, too old, or another visitor's.
    """
    if request.method in ("GET", "HEAD", "OPTIONS") or not _from_browser():
        return
    given = request.headers.get(CSRF_HEADER) or request.form.get(CSRF_FIELD, "")
    with suppress(BadSignature):
        visitor = str(_signer(app).loads(given, max_age=CSRF_SECONDS))
        if secrets.compare_digest(visitor, session.get("visitor", "")):
            return
    raise Forbidden(
        "This form's token is missing or too old; load the page again and send the form once more.", reason="csrf"
    )


def _from_browser() -> bool:
    return any(name in request.headers for name in ("Cookie", "Origin", "Referer", "Sec-Fetch-Site"))


def _signer(app: Flask) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(app.secret_key or "", salt="evident.csrf")
