"""`python -m preflight`. What a bare machine needs imports the standard library alone."""

from __future__ import annotations

import sys

BARE = ("up", "down", "engine", "dependencies")


def main() -> int:
    """Run the command line; returns its exit code."""
    if sys.argv[1:2] and sys.argv[1] in BARE:
        from preflight.cli import bare

        return bare.main(sys.argv[1:])
    from preflight.cli.main import preflight

    preflight(prog_name="preflight")
    return 0


if __name__ == "__main__":
    sys.exit(main())
