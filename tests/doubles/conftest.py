"""The stand-ins under test."""

from tests.doubles.running import doubles_image, upstreams, upstreams_starting

__all__ = ["doubles_image", "upstreams", "upstreams_starting"]
