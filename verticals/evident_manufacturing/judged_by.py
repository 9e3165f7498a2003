"""What the next board can be judged by: only what has served, and nothing chosen that the person did not choose here.

What was sent last from a browser is remembered there, in a cookie that ends with it, and is shown chosen on the form.
"""

from datetime import date
from typing import Final, Literal
from urllib.parse import parse_qsl, urlencode

from flask import request
from werkzeug.wrappers import Response

from evident_core.evidence import Frozen
from evident_core.web.job_rows import JobView
from evident_core.web.tables import now
from evident_manufacturing import versions
from evident_manufacturing.desk import Options, specification_of
from evident_manufacturing.inspection.calibration import parse
from evident_manufacturing.kept import Kept

COOKIE: Final = "evident_judged_by"
Field = Literal["template_id", "calibration_name", "specification_name"]


class Choice(Frozen):
    """One that the form offers; ``until`` when a certificate holds, and whether that is over."""

    value: str
    name: str
    until: date | None = None
    expired: bool = False


class Offer(Frozen):
    """What the form offers by the name of its field, and what of it is chosen before anybody chose."""

    choices: dict[Field, tuple[Choice, ...]]
    chosen: dict[Field, str]


def offer(*, fresh: bool = False) -> Offer:
    """What the caller's form offers.

    Args:
        fresh: Nothing is chosen, whatever was sent last from this browser.
    """
    choices: dict[Field, tuple[Choice, ...]] = {
        "template_id": tuple(Choice(value=each.id, name=each.name) for each in versions.templates()),
        "calibration_name": tuple(_certificate(each) for each in versions.offered("calibration")),
        "specification_name": tuple(Choice(value=each, name=each) for each in _specifications()),
    }
    sent = {} if fresh else dict(parse_qsl(request.cookies.get(COOKIE, "")))
    chosen = {
        field: each.value
        for field, them in choices.items()
        for each in them
        if each.value == sent.get(field) and not each.expired
    }
    return Offer(choices=choices, chosen=chosen)


def remember(response: Response, job: JobView, options: Options) -> None:
    """Let the browser remember what its person has just sent a board with."""
    specification = specification_of(options.specification)
    sent = {
        "template_id": job.input_ids[1] if len(job.input_ids) > 1 else "",
        "calibration_name": parse(options.calibration).id if options.calibration else "",
        "specification_name": specification.name if specification else "",
    }
    response.set_cookie(COOKIE, urlencode(sent), samesite="Lax", secure=request.is_secure, httponly=True)


def _specifications() -> list[str]:
    names = [each.name for each in versions.offered("specification")]
    return list(dict.fromkeys([*names, versions.shipped_name()]))


def _certificate(document: versions.Document) -> Choice:
    until = _until.get(document.sha256, lambda: parse(versions.text_of("calibration", document.name)).valid_until)
    return Choice(value=document.name, name=document.name, until=until, expired=until < now().date())


_until: Final = Kept[date](200)
