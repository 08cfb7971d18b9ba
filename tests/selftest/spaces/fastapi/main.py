# mypy: ignore-errors
"""A Space as FastAPI users write it."""

from settings import GREETING  # isort: split

from fastapi import FastAPI

app = FastAPI()


@app.api_route("/", methods=["GET", "HEAD"])
def front_page():
    return {"greeting": GREETING}


@app.get("/health")
def health():
    return {"status": "ok", "version": "1.0", "services": {}}


@app.get("/ready")
def ready():
    return {"status": "ready"}
