"""Make sure of a Chromium for the browser tests: the one that is installed, or Debian's package.

Playwright's own download is not used: one browser more, from one more host. Standard library only.
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
    """The path of an installed Chromium or Chrome; installs Debian's where that is possible.

    Raises SystemExit with what to do where it is not.
    """
    found = installed()
    if found:
        return found
    release = Path("/etc/os-release")
    # Ubuntu's package is a snap, which starts in no container and reads no file outside the home folder.
    debian = release.is_file() and "\nID=debian\n" in f"\n{release.read_text()}\n"
    if not (debian and can_install()):
        fail(f"the browser tests need Chromium, and there is none. {HINT}")
    say("no Chromium here: installing Debian's package `chromium` …")
    run_as_root(["apt-get", "update", "-q"])
    run_as_root(["apt-get", "install", "-y", "-q", "--no-install-recommends", "chromium"])
    found = installed()
    if not found:
        fail(f"Debian's package `chromium` is installed, but there is no such program. {HINT}")
    return found


def installed() -> str | None:
    """The path of a Chromium or Chrome that is here."""
    on_path = next((path for name in NAMES if (path := shutil.which(name))), None)
    return on_path or next((str(path) for path in MACOS if path.exists()), None)


def steady(folder: Path) -> Path:
    """A program in `folder` that starts the one that $PROGRAM names, and hides changes of the network.

    Each container that starts or ends changes this machine's network, and Chromium would break off
    what it is loading.
    """
    written = folder / "steady_network.py"
    _, _, text = (ASSETS / "steady_network.py").read_text(encoding="utf-8").partition("\n")
    folder.mkdir(parents=True, exist_ok=True)
    # An installed package keeps no executable bit, and need not have the python3 of the PATH.
    written.write_text(f"#!{sys.executable}\n{text}", encoding="utf-8")
    written.chmod(0o755)
    return written
