"""The web frame of every service: one factory, and the rooms it opens onto.

A service is its pages and API routes; all else is here::

    pages = Blueprint("finance", __name__, template_folder="templates")   # its templates extend base.html

    @pages.get("/")                                   # a page: needs the scope its method implies, as every view does
    def home() -> str:
        return render_template("finance/home.html")

    @pages.post("/reports/<report_id>/corrections")   # an API route: checked and documented by its declaration
    @operation("Correct a value", body=NewCorrection, returns=Corrections, status=201, problems=(NotFound,))
    def correct(report_id: str, body: NewCorrection) -> Corrections:
        frame = current_frame()                       # store, jobs, audit, texts and the caller
        ...

    def create_app(settings: Settings) -> Flask:
        return create_service(vertical, settings, blueprints=(pages, job_routes(TASK)), texts=(TEXTS,))

======================  ================================================================================
`service`, `frame`      the factory of apps; what a request reaches
`openapi`, `docs`       what a route declares; the document and page made from it
`problems`              every error as RFC 9457, or as a page
`auth`, `security`      keys, scopes, signing in; headers and form tokens
`audit`                 the log as a chain of hashes
`probes`, `logs`        health, readiness, figures; lines of JSON
`i18n`, ``templates``   texts in two languages; ``base.html`` and its pieces (``components.html``, there as ``ui``)
`store`, `database`     uploads, results, corrections, in SQLite or PostgreSQL
`jobs`, `job_routes`    the queue, and its API with progress by server-sent events
`worker`, `server`      the processes
`llm_api`               our language model behind the OpenAI API; ``llm_…`` are its rooms
======================  ================================================================================
"""
