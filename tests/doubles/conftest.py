"""The stand-ins under test."""

from doubles.running import doubles_image, upstreams

__all__ = ["doubles_image", "upstreams"]
