"""One factory for every service.

`create_service` makes a vertical's app, `create_landing` the one that holds all, `create_machine_service` one without
pages of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from flask import Blueprint, Flask, Response, current_app, redirect, render_template, request, session, url_for
from jinja2 import StrictUndefined
from sqlalchemy import func, select
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.wrappers import Response as AnyResponse

from evident_core import __version__
from evident_core.errors import EvidentError
from evident_core.services import Vertical, installed
from evident_core.settings import MIB, Settings
from evident_core.web import docs, i18n, logs, openapi
from evident_core.web.audit import Audit
from evident_core.web.auth import LOCAL, SESSION_KEY, Keys, guard, refuse_open_doors
from evident_core.web.frame import EXTENSION, Frame, current_frame
from evident_core.web.i18n import Texts
from evident_core.web.jobs import Jobs
from evident_core.web.openapi import public
from evident_core.web.probes import Check, measure, probes
from evident_core.web.problems import handle_errors
from evident_core.web.security import secure
from evident_core.web.store import Store
from evident_core.web.tables import OPEN_STATES, Job

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

FOLDER: Final = Path(__file__).parent


def create_service(
    vertical: Vertical,
    settings: Settings,
    *,
    blueprints: Iterable[Blueprint] = (),
    texts: Iterable[Path] = (),
    checks: Mapping[str, Check] | None = None,
) -> Flask:
    """Make a service's app: its pages and API inside the frame that all services share.

    Args:
        vertical: The service as declared.
        settings: All settings.
        blueprints: Its pages and API routes; a page extends ``base.html``, an API route is declared with
            `openapi.operation`. One of them should answer ``/``.
        texts: TOML files of its texts (see `i18n.Texts`).
        checks: What must be there before it can take work, by name, for ``/readyz``.

    Raises:
        InvalidInput: The service would be open to other machines without a key.
    """
    app = _create(vertical.name, vertical, settings, texts, checks or {})
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    return app


def create_machine_service(
    name: str,
    settings: Settings,
    *,
    blueprints: Iterable[Blueprint] = (),
    texts: Iterable[Path] = (),
    checks: Mapping[str, Check] | None = None,
) -> Flask:
    """Make an app inside the same frame that is no vertical: an API which other programs know already.

    The arguments are those of `create_service`. Until there are keys, one that a client sends is not looked at; see
    `auth.guard`.

    Raises:
        InvalidInput: The service would be open to other machines without a key.
    """
    app = _create(name, None, settings, texts, checks or {}, placeholder_keys=True)
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    return app


def create_landing(settings: Settings, services: Mapping[str, Vertical] | None = None) -> Flask:
    """Make the app that shows all installed services (or those given) and holds each under ``/<its name>/``."""
    services = installed() if services is None else services
    app = _create("landing", None, settings, (), {})
    mounted: dict[str, Flask] = {}
    reasons: dict[str, EvidentError] = {}
    for name, vertical in services.items():
        try:
            mounted[name] = vertical.load(vertical.app)(settings)
        except EvidentError as error:
            reasons[name] = error

    @public
    def landing() -> str:
        entries = [_entry(each, ready=name in mounted, reason=reasons.get(name)) for name, each in services.items()]
        return render_template("landing.html", services=entries)

    app.add_url_rule("/", "landing", landing)
    app.extensions["evident.services"] = mounted
    mounts: dict[str, WSGIApplication] = {f"/{name}": service.wsgi_app for name, service in mounted.items()}
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, mounts)  # type: ignore[method-assign]
    _behind_proxies(app, settings)
    return app


def _entry(vertical: Vertical, *, ready: bool, reason: EvidentError | None) -> dict[str, object]:
    language = i18n.language()
    return {
        "title": vertical.title[language],
        "summary": vertical.summary[language],
        "url": f"{request.script_root}/{vertical.name}/",
        "ready": ready,
        "command": f"pip install 'evident[{vertical.name}]'" if reason and reason.code == "missing_extra" else "",
        "reason": reason.message if reason else "",
    }


def _create(
    name: str,
    vertical: Vertical | None,
    settings: Settings,
    texts: Iterable[Path],
    checks: Mapping[str, Check],
    *,
    placeholder_keys: bool = False,
) -> Flask:
    app = Flask(name, root_path=str(FOLDER), static_folder="static", template_folder="templates")
    store = Store(settings)
    jobs = Jobs(store, settings)
    audit = Audit(store)
    keys = Keys(store, audit)
    refuse_open_doors(settings, keys)
    known = Texts(i18n.CORE_TEXTS, *texts)
    app.extensions[EXTENSION] = Frame(name, vertical, settings, store, jobs, audit, keys, known)
    app.secret_key = settings.web.secret_key.get_secret_value() if settings.web.secret_key else store.secret_key()
    app.config[i18n.DEFAULT_LANGUAGE] = settings.web.language
    app.config.update(
        MAX_CONTENT_LENGTH=settings.web.max_upload_mib * MIB, MAX_FORM_PARTS=200, MAX_FORM_MEMORY_SIZE=MIB
    )
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = timedelta(days=365)
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.context_processor(_page_context)
    app.jinja_env.filters["marked"] = docs.marked
    _behind_proxies(app, settings)
    # The order matters: a refused request too has an id, is counted, and is answered with all headers.
    logs.log_requests(app)
    measure(app)
    secure(app)
    handle_errors(app)
    guard(app, name if vertical else "", keys, placeholder_keys=placeholder_keys)
    app.after_request(_remember_choices)
    app.register_blueprint(probes({"store": store.ping, "jobs": jobs.ping, **checks}, lambda: depths(store)))
    app.register_blueprint(_frame_pages(vertical))
    return app


class _ProxyFixOnce(ProxyFix):
    """Believes the headers of the proxies once for each request: a mounted app is inside one that did already."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.setdefault("evident.proxied", self) is not self:
            return self.app(environ, start_response)
        return super().__call__(environ, start_response)


def _behind_proxies(app: Flask, settings: Settings) -> None:
    if hops := settings.web.trusted_proxies:
        app.wsgi_app = _ProxyFixOnce(app.wsgi_app, hops, hops, hops, hops, hops)  # type: ignore[method-assign]


def depths(store: Store) -> dict[tuple[str, str], int]:
    """How many jobs wait and run, by service and state; zero is said too."""
    counted = dict.fromkeys(((service, state) for service in installed() for state in OPEN_STATES), 0)
    query = (
        select(Job.service, Job.state, func.count()).where(Job.state.in_(OPEN_STATES)).group_by(Job.service, Job.state)
    )
    with store.reading() as rows:
        counted.update({(service, state): count for service, state, count in rows.execute(query)})
    return counted


def _frame_pages(vertical: Vertical | None) -> Blueprint:
    frame = Blueprint("frame", __name__)

    if vertical is not None:

        @frame.get("/openapi.json")
        @public
        def document() -> Response:
            return openapi.as_json(_document())

        @frame.get("/docs")
        @public
        def docs_page() -> str:
            described = _document()
            groups = docs.groups(described, request.url_root, with_key=current_frame().caller is not LOCAL)
            kinds = docs.problem_kinds()
            return render_template("docs.html", groups=groups, document=described, problems=kinds)

    @frame.get("/sign-in")
    @public
    def sign_in() -> str:
        return render_template("sign_in.html", wrong=False)

    @frame.post("/sign-in")
    @public
    def enter() -> AnyResponse | tuple[str, int]:
        given = request.form.get("key", "").strip()
        caller = current_frame().keys.caller(given, by_header=False) if given else None
        if caller is None:
            current_frame().record("session.refused")
            return render_template("sign_in.html", wrong=True), 401
        session.clear()
        session[SESSION_KEY] = caller.id
        current_frame().audit.record(caller.id, "session.begin")
        return redirect(_home_url(), 303)

    @frame.post("/sign-out")
    @public
    def sign_out() -> AnyResponse:
        session.clear()
        return redirect(_home_url(), 303)

    return frame


def _document() -> dict[str, Any]:
    vertical = cast(Vertical, current_frame().vertical)
    return openapi.document(
        current_app,
        title=f"Evident {vertical.name}",
        summary=vertical.summary["en"],
        version=__version__,
        server=request.script_root or "/",
    )


def _home_url() -> str:
    return f"{request.script_root}/"


def _page_context() -> dict[str, object]:
    frame = current_frame()
    language = i18n.language()

    def t(key: str, **values: object) -> str:
        return frame.texts.get(key, language, **values)

    return {
        "t": t,
        "has_text": frame.texts.__contains__,
        "asset": asset,
        "here": _here,
        "language": language,
        "html_language": i18n.HTML_LANGUAGE[language],
        "language_names": i18n.LANGUAGE_NAMES,
        "theme": i18n.theme(),
        "themes": i18n.THEMES,
        "vertical": frame.vertical,
        "service_title": frame.vertical.title[language] if frame.vertical else t("suite.name"),
        "home_url": _home_url(),
        "landing_url": _landing_url(frame),
        "visitor": frame.caller,
        "max_upload_mib": frame.settings.web.max_upload_mib,
        "version": __version__,
    }


def _landing_url(frame: Frame) -> str:
    """The landing page if this service is mounted in it, else the service's own start page."""
    own = f"/{frame.name}"
    return request.script_root.removesuffix(own) + "/" if request.script_root.endswith(own) else _home_url()


def _here(**changes: str) -> str:
    """The present page with other arguments in its query, as a link."""
    values = (
        {**request.view_args, **request.args.to_dict(flat=False), **changes}
        if request.view_args is not None
        else changes
    )
    if request.endpoint is None or request.method not in ("GET", "HEAD"):
        return f"{request.script_root}{request.path}?" + "&".join(f"{name}={value}" for name, value in changes.items())
    return url_for(request.endpoint, **cast(dict[str, Any], values))


def asset(name: str) -> str:
    """The address of a file in ``static/``, which changes when the file does, so that it may be kept for a year."""
    return url_for("static", filename=name, v=_fingerprint(name))


@cache
def _fingerprint(name: str) -> str:
    return sha256((FOLDER / "static" / name).read_bytes()).hexdigest()[:12]


def _remember_choices(response: Response) -> Response:
    for argument, cookie, choices in (
        ("lang", i18n.LANGUAGE_COOKIE, i18n.LANGUAGES),
        ("theme", i18n.THEME_COOKIE, i18n.THEMES),
    ):
        if (chosen := request.args.get(argument)) in choices:
            response.set_cookie(
                cookie, str(chosen), max_age=365 * 86400, samesite="Lax", secure=request.is_secure, httponly=False
            )
    if response.mimetype == "text/html":
        response.headers["Content-Language"] = i18n.language()
        response.vary.update(("Accept-Language", "Cookie"))
    return response
