# mypy: ignore-errors
"""A Space as Flask users write it."""

from flask import Flask

app = Flask(__name__)


@app.get("/")
def front_page():
    return "<!doctype html><title>Flask</title><p>Hello.</p>"
