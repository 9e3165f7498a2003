"""Names of files to download, in any script."""

from urllib.parse import quote

from werkzeug.wrappers import Response


def attach(response: Response, name: str) -> None:
    """Have a browser keep a response as a file of this name (RFC 6266, RFC 8187).

    A header holds Latin letters alone: other scripts go beside them, percent-encoded, and browsers take that name.
    """
    name = "".join(each if each.isprintable() else "_" for each in name)
    plain = "".join(each if each.isascii() else "_" for each in name)
    names = {"filename": plain}
    if plain != name:
        names["filename*"] = f"UTF-8''{quote(name, safe='')}"
    response.headers.set("Content-Disposition", "attachment", **names)
