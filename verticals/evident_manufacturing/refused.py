"""The page of what could not be inspected, here or by an agent: each picture with the reason."""

from flask import Blueprint, render_template

from evident_core.web.openapi import operation
from evident_manufacturing.line import WINDOW, images_of, window

pages = Blueprint("refused", __name__)


@pages.get("/refused")
@operation("The page of what could not be inspected", returns="text/html", tag="Pages")
def page() -> str:
    """Of the last boards, those that the line's page counts as not inspected, the newest first."""
    boards = [(board, images_of(board)) for board in window() if board.state == "failed"]
    images = sum(number for _, number in boards)
    return render_template("manufacturing/refused.html", boards=boards, images=images, most=WINDOW)
