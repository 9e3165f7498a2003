"""The page of models: what inspects, how a candidate compares with it, and who changed it when."""

from typing import Final

from flask import Blueprint, Response, redirect, render_template, url_for
from pydantic import BaseModel, Field
from werkzeug.wrappers import Response as AnyResponse

from evident_core.errors import Conflict, InvalidInput, MissingExtra, ModelNotReady, NotFound, TooMany
from evident_core.web.frame import current_frame
from evident_core.web.job_routes import current_jobs
from evident_core.web.job_rows import JobView
from evident_core.web.openapi import operation
from evident_core.web.problems import wants_page
from evident_manufacturing import registry, trainings
from evident_manufacturing.agent.installed import Kind, stores_folder
from evident_manufacturing.label_sets import LabelSet, label_set
from evident_manufacturing.retraining import COMMAND, TRAINING, refuse_without_extra, unreadable
from evident_manufacturing.settings import ManufacturingSettings

TAG: Final = "Models"
KIND: Final = "<any(fused, plain):kind>"
pages = Blueprint("models", __name__)


class Installation(BaseModel):
    """The models that are here, what was changed last, and the candidates that cannot be read, with the reason."""

    kinds: tuple[registry.Models, ...]
    history: tuple[registry.Change, ...]
    unreadable: dict[str, str]


class Version(BaseModel):
    """A model by its version."""

    version: str = Field(min_length=1, max_length=128)


class Reason(BaseModel):
    """Why a model is taken back."""

    reason: str = Field("", max_length=500)


class Epochs(BaseModel):
    """How long a candidate is trained."""

    epochs: int | None = Field(None, ge=1, le=1000, description="By default as the settings say.")


@pages.get("/models")
@operation("The page of the models", returns="text/html", tag="Pages")
def page() -> str:
    """Which model inspects, the candidates beside it with their comparisons, retraining, and the history."""
    frame = current_frame()
    labels, own = label_set(), stores_folder(frame.store.folder)
    agents = frame.settings.section("manufacturing", ManufacturingSettings).agent.models
    kinds = registry.models()
    return render_template(
        "manufacturing/models.html",
        kinds=kinds,
        history=registry.history(),
        unreadable=_unreadable(),
        running=trainings.running(),
        labels=labels,
        section=trainings.training_section(),
        begins={each.kind: trainings.begins_with(each.kind) for each in kinds},
        missing=_missing(),
        few=_few(labels),
        command=COMMAND,
        other_folder=agents if agents and agents != str(own) else "",
        may_change=frame.caller.may("admin", frame.name),
    )


@pages.get("/models/installed")
@operation("List the models", returns=Installation, tag=TAG)
def installed() -> Installation:
    """Of each kind the one in use, the one before, and the candidates; with their gates' figures and comparisons."""
    return Installation(kinds=registry.models(), history=registry.history(), unreadable=_unreadable())


@pages.post(f"/models/{KIND}/promote")
@operation(
    "Take a model into use",
    scope="admin",
    form=Version,
    returns=Installation,
    problems=(NotFound, InvalidInput, ModelNotReady),
    tag=TAG,
)
def promote(kind: Kind, form: Version) -> AnyResponse | Installation:
    """Once it has shown that it finds the known defects. It inspects from the next board on; the audit log has who."""
    registry.promote(kind, form.version)
    return redirect(url_for("models.page"), 303) if wants_page() else installed()


@pages.post(f"/models/{KIND}/delete")
@operation(
    "Delete a candidate",
    scope="admin",
    form=Version,
    returns=Installation,
    problems=(NotFound, Conflict),
    tag=TAG,
)
def delete(kind: Kind, form: Version) -> AnyResponse | Installation:
    """Its files, its weights and the label set that it was trained on go; the audit log has who."""
    registry.delete(kind, form.version)
    return redirect(url_for("models.page"), 303) if wants_page() else installed()


@pages.post("/models/unreadable/delete")
@operation(
    "Delete a candidate that cannot be read",
    scope="admin",
    form=Version,
    returns=Installation,
    problems=(NotFound, Conflict),
    tag=TAG,
)
def delete_unreadable(form: Version) -> AnyResponse | Installation:
    """One of `unreadable`: its folder, and the label set that it was trained on, go; the audit log has who."""
    registry.delete_unreadable(form.version)
    return redirect(url_for("models.page"), 303) if wants_page() else installed()


@pages.post(f"/models/{KIND}/rollback")
@operation(
    "Go back to the model before",
    scope="admin",
    form=Reason,
    returns=Installation,
    problems=(Conflict, ModelNotReady),
    tag=TAG,
)
def roll_back(kind: Kind, form: Reason) -> AnyResponse | Installation:
    """It inspects from the next board on; the audit log has who, when and why."""
    registry.roll_back(kind, form.reason)
    return redirect(url_for("models.page"), 303) if wants_page() else installed()


@pages.post(f"/models/{KIND}/retrain")
@operation(
    "Train a candidate on the label set",
    scope="admin",
    form=Epochs,
    returns=JobView,
    status=202,
    problems=(InvalidInput, NotFound, MissingExtra, TooMany),
    tag=TAG,
)
def retrain(kind: Kind, form: Epochs) -> AnyResponse:
    """As a job; its result is the candidate, compared with the model in use. It is not promoted by itself."""
    return _accepted(trainings.retrain(kind, label_set(), form.epochs))


@pages.post(f"/models/{KIND}/compare")
@operation(
    "Compare a model with the one in use",
    scope="admin",
    form=Version,
    returns=JobView,
    status=202,
    problems=(NotFound, InvalidInput, TooMany),
    tag=TAG,
)
def compare(kind: Kind, form: Version) -> AnyResponse:
    """As a job, on the boards of the label set that no training sees: per kind, mAP, F and false calls."""
    return _accepted(trainings.compare(kind, form.version, label_set()))


@pages.get("/models/jobs/<job_id>")
@operation("Watch a training or comparison", returns="text/html", problems=(NotFound,), tag="Pages")
def job(job_id: str) -> str:
    """Its stages as they go; when it is done the page of the models has its result."""
    found = current_jobs().get(job_id, current_frame().caller.id)
    return render_template("manufacturing/model_job.html", job=found, stages=TRAINING)


@pages.post("/models/jobs/<job_id>/cancel")
def cancel(job_id: str) -> AnyResponse:
    """Stop a training or comparison; what it made so far goes."""
    current_jobs().cancel(job_id, current_frame().caller.id)
    current_frame().record("job.cancel", job_id)
    return redirect(url_for("models.page"), 303)


def _accepted(made: JobView) -> AnyResponse:
    where = url_for("models.job", job_id=made.id)
    if wants_page():
        return redirect(where, 303)
    response = Response(made.model_dump_json(), 202, mimetype="application/json")
    response.headers["Location"] = where
    return response


def _unreadable() -> dict[str, str]:
    return unreadable(current_frame().store.folder)


def _few(labels: LabelSet) -> str:
    """Why this label set is not trained on; empty: it can be."""
    try:
        trainings.refuse_too_few(labels)
    except (InvalidInput, NotFound) as error:
        return error.message
    return ""


def _missing() -> str:
    """Why nothing can be trained here; empty: it can."""
    try:
        refuse_without_extra()
    except MissingExtra as error:
        return error.message
    return ""
