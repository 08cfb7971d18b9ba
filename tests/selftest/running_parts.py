"""What the broken Spaces that run are made of: edits of the sound Space."""

from __future__ import annotations

from functools import partial

from preflight.model.environment import EnvironmentDeclaration
from tests.selftest.cases import Broken, Edits
from tests.spaces import folder_of

# The value that the harness generates for SIGNING_KEY in a build.
_SOUND = folder_of("sound") / ".env.example"
KEY = EnvironmentDeclaration.of_file(_SOUND).valid_environment()["SIGNING_KEY"]

Running = partial(Broken, needs="container")


def app(*replacements: tuple[str, str]) -> Edits:
    return {"app.py": list(replacements)}


LISTEN = 'server = Server(("0.0.0.0", PORT), Handler)'
SERVE = "    server.serve_forever(poll_interval=0.05)"
READ_ONLY = '        if self.route == "/" and "text/html"'
HEALTH = 'self.answer(200, {"status": "ok", "version": "1.0", "services": {}})'
READY = 'self.answer(200, {"status": "ready"})'
USER = "RUN useradd --uid 1000 --create-home user"
PROBE = 'CMD ["python", "-c", "from urllib.request import urlopen; urlopen(\'http://127.0.0.1:7860/health\', timeout=2)"]'
# A dependency that the app looks for at DIRECTORY_URL; `down` is true while it is unreachable.
DIRECTORY = """
# Directory of signers.
# @optional @type=string @dependency=http://127.0.0.1:9
DIRECTORY_URL=
"""
DOWN = '''
def down() -> bool:
    """Whether the directory of signers is unreachable."""
    if not os.environ.get("DIRECTORY_URL", "").strip():
        return False
    try:
        with socket.create_connection(("127.0.0.1", 9), timeout=3) as connection:
            connection.settimeout(3)
            connection.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
            return not connection.recv(1)
    except OSError:
        return True


class Settings:'''


def with_directory(*replacements: tuple[str, str]) -> Edits:
    return {
        ".env.example": [("\n# Origins", f"{DIRECTORY}\n# Origins")],
        "README.md": [("| `CORS", "| `DIRECTORY_URL` | Variable | no | Directory |\n| `CORS")],
        "app.py": [
            ("import signal", "import signal\nimport socket"),
            ("\nclass Settings:", DOWN),
            *replacements,
        ],
    }


def connecting(port: int) -> Edits:
    """An app that connects to the container's gateway: this machine, where nothing needs to listen."""
    return app(
        (
            LISTEN,
            'words = open("/proc/net/route").read().split("\\n")[1].split()\n'
            '    gateway = ".".join(str(part) for part in bytes.fromhex(words[2])[::-1])\n'
            f"    socket.socket().connect_ex((gateway, {port}))\n"
            f"    {LISTEN}",
        ),
        ("import signal", "import signal\nimport socket"),
    )
