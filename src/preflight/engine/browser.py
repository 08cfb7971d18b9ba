"""Provide a Chromium for the browser tests: the installed browser, or Debian's package.

Playwright's download is not used: it would add a browser and a host. Standard library only.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from preflight.engine.install import can_install, fail, run_as_root, say

ASSETS = Path(__file__).with_name("assets")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MACOS = (
    Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"),
    Path("/Applications/Chromium.app/Contents/MacOS/Chromium"),
)
HINT = "Install Chromium or Google Chrome so that it is on the PATH, then run the command again."


def ensure() -> str:
    """The path of an installed Chromium or Chrome; installs Debian's package when possible.

    Raises SystemExit with the fix when it is not possible.
    """
    found = installed()
    if found:
        return found
    release = Path("/etc/os-release")
    # Ubuntu's package is a snap: it does not start in a container or read files outside the home folder.
    debian = release.is_file() and "\nID=debian\n" in f"\n{release.read_text()}\n"
    if not (debian and can_install()):
        fail(f"the browser tests need Chromium, which is not installed. {HINT}")
    say("no Chromium here: installing Debian's package `chromium` …")
    run_as_root(["apt-get", "update", "-q"])
    run_as_root(["apt-get", "install", "-y", "-q", "--no-install-recommends", "chromium"])
    found = installed()
    if not found:
        fail(f"Debian's package `chromium` is installed, but its program is missing. {HINT}")
    return found


def installed() -> str | None:
    """The path of an installed Chromium or Chrome."""
    on_path = next((path for name in NAMES if (path := shutil.which(name))), None)
    return on_path or next((str(path) for path in MACOS if path.exists()), None)


def steady(folder: Path) -> Path:
    """A program in `folder` that starts the browser at $PROGRAM, and hides changes of the network.

    Each container that starts or ends changes this machine's network, and Chromium would break off
    what it is loading.
    """
    written = folder / "steady_network.py"
    _, _, text = (ASSETS / "steady_network.py").read_text(encoding="utf-8").partition("\n")
    folder.mkdir(parents=True, exist_ok=True)
    # An installed package loses the executable bit, and its Python may differ from the PATH's python3.
    written.write_text(f"#!{sys.executable}\n{text}", encoding="utf-8")
    written.chmod(0o755)
    return written
