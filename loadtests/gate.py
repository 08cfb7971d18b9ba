"""The gate of the run and the shapes of `--shape`: Locust finds both in a locustfile."""

from preflight.load import gate
from preflight.load.shapes import Shape

__all__ = ["Shape", "gate"]
