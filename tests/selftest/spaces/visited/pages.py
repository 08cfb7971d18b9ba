# mypy: ignore-errors
"""One page, as it should be."""

HTML = [("Content-Type", "text/html; charset=utf-8")]
PAGE = "<!doctype html><title>Visited</title><p>Welcome."


def answer(method, path, headers, body):
    if path.partition("?")[0] == "/":
        return 200, HTML, PAGE
    return 404, [("Content-Type", "text/plain")], "Nothing here."
