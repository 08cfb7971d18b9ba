# mypy: ignore-errors
"""A Space as FastAPI users write it."""

import os
import sys

from fastapi import FastAPI

greeting = os.environ.get("GREETING", "").strip()
if not greeting:
    sys.exit("GREETING: missing")

app = FastAPI()


@app.api_route("/", methods=["GET", "HEAD"])
def front_page():
    return {"greeting": greeting}


@app.get("/health")
def health():
    return {"status": "ok", "version": "1.0", "services": {}}


@app.get("/ready")
def ready():
    return {"status": "ready"}
