"""Broken Spaces and sound look-alikes as a visitor sees them: the base `visited` with other pages."""

from __future__ import annotations

from functools import partial

from preflight.model.problems import Severity
from tests.selftest.cases import Broken

Running = partial(Broken, needs="container", base="visited")
Alike = partial(Broken, check="", needs="container", base="visited")

START = """
HTML = [("Content-Type", "text/html; charset=utf-8")]
PAGE = "<!doctype html><title>Visited</title><p>Welcome."
NOTHING = 404, [("Content-Type", "text/plain")], "Nothing here."

"""


def pages(function: str, before: str = "") -> dict[str, str | bytes | None]:
    """`pages.py` with the body of `answer`, which ends with the front page and 404."""
    body = "\n".join(f"    {line}" for line in function.strip("\n").splitlines())
    end = '    return (200, HTML, PAGE) if path == "/" else NOTHING\n'
    return {
        "pages.py": f"{START}{before}\n\ndef answer(method, path, headers, body):\n{body}\n{end}"
    }


def page(
    html: str, *headers: tuple[str, str], **more: tuple[str, str]
) -> dict[str, str | bytes | None]:
    """A front page with these headers, and further paths: `app_js=("text/javascript", "…")`."""
    routes = {
        f"/{name.replace('__', '/').replace('_', '.')}": given for name, given in more.items()
    }
    return pages(
        f"""
if path == "/":
    return 200, HTML + {list(headers)!r}, {html!r}
if path in {routes!r}:
    kind, text = {routes!r}[path]
    return 200, [("Content-Type", kind)], text
"""
    )


HOST = 'host = headers.get("Host", "").partition(":")[0]'
LOCAL = '("localhost", "127.0.0.1")'
EVENTS = 'EVENTS = [b"data: %d\\n\\n" % n for n in range(4)]'
STREAM = '[("Content-Type", "text/event-stream")]'
LISTENING = "<!doctype html><title>T</title><script>new EventSource('/ticks')</script>"
MODULE = '<!doctype html><title>T</title><script type="module" src="/app.js"></script>'
CHATTING = (
    "<!doctype html><title>T</title><script>const send = (text) => "
    "fetch('/chat', {method: 'POST', body: JSON.stringify({message: text})})</script>"
)
LATE = "def late():\n    time.sleep(1)\n    yield b''.join(EVENTS)\n"
TIMELY = "def timely():\n    for event in EVENTS:\n        yield event\n        time.sleep(0.3)\n"
SOCKET = (
    "<!doctype html><title>T</title><script>"
    "new WebSocket((location.protocol === 'https:' ? 'wss://' : 'ws://') + location.host + '/live')"
    "</script>"
)


def of_streamlit(widget: str) -> dict[str, str | bytes | None]:
    """Code with a widget, and the cookie that Streamlit sets where its page asks whether the server is there."""
    cookie = "_streamlit_xsrf=2|a; Path=/; SameSite=Lax"
    return {
        **pages(
            f'if path == "/_stcore/health":\n    return 200, [("Set-Cookie", "{cookie}")], "ok"'
        ),
        "ui.py": f"import streamlit as st\n\nst.{widget}\n",
    }


def streaming(
    parts: str, before: str = "", listening: str = LISTENING
) -> dict[str, str | bytes | None]:
    return pages(
        f'if path == "/":\n    return 200, HTML, {listening!r}\n'
        f'if path == "/ticks":\n    return 200, {STREAM}, {parts}\n'
        f'if path == "/chat" and method == "POST":\n    return 200, {STREAM}, {parts}',
        f"import gzip\nimport time\n\n{EVENTS}\n\n{before}",
    )


def form(accepted: str) -> dict[str, str | bytes | None]:
    """A front page with a form, which is accepted on a condition and otherwise refused with 403."""
    html = (
        '<!doctype html><title>T</title><form method="post" action="/rides"><input name="a"></form>'
    )
    return pages(
        f'if path == "/":\n    return 200, HTML, {html!r}\n'
        f'if path == "/rides" and method == "POST":\n'
        f'    return (200, [], "taken") if {accepted} else (403, [], "CSRF verification failed")'
    )


EDGE = (
    Running(
        "host-of-an-app-that-fails",
        "edge.answers_the_public_name",
        files=pages(f'{HOST}\nif host not in {LOCAL}:\n    return 400, [], "DisallowedHost"\nif path == "/":\n    return 500, [], "failed"'),
    ),
    Running(
        "host-of-a-dev-server",
        "edge.answers_the_public_name",
        files=pages(f'{HOST}\nif host not in {LOCAL}:\n    return 403, [], "Blocked request. This host is not allowed."'),
        sample=True,
    ),
    Running(
        "host-of-another-domain",
        "edge.answers_the_public_name",
        files=pages(f'{HOST}\nif host != "bikes.example.com":\n    return 400, [], "Invalid host header"'),
    ),
    Running(
        "host-at-one-path",
        "edge.answers_the_public_name",
        files=pages(
            f'{HOST}\nif path.startswith("/mcp"):\n'
            f'    return (405, [], "POST") if host in {LOCAL} else (421, [], "Misdirected")'
        ),
    ),
    Alike(
        "host-of-the-space-alone",
        files=pages(
            f'{HOST}\nif host != os.environ.get("SPACE_HOST", "localhost"):\n    return 400, [], "Another host"',
            "import os",
        ),
    ),
    Running(
        "redirect-to-plain-http",
        "edge.redirects_to_public_addresses",
        files=pages('if path == "/":\n    return 307, [("Location", "http://" + headers["Host"] + "/home")], ""\nif path == "/home":\n    return 200, HTML, PAGE'),
    ),
    Running(
        "redirect-to-itself",
        "edge.redirects_to_public_addresses",
        # The scheme of the socket, which is never https behind the edge.
        files=pages('return 301, [("Location", "https://" + headers["Host"] + path)], ""'),
    ),
    Running(
        "redirect-to-a-port",
        "edge.redirects_to_public_addresses",
        files=pages('if path == "/":\n    return 302, [("Location", "https://" + headers["Host"] + ":7860/home")], ""\nif path == "/home":\n    return 200, HTML, PAGE'),
    ),
    Alike(
        "redirect-by-path",
        files=pages('if path == "/":\n    return 302, [("Location", "/home")], ""\nif path == "/home":\n    return 200, HTML, PAGE'),
    ),
    Alike(
        "redirect-by-the-forwarded-scheme",
        files=pages('if path == "/":\n    return 302, [("Location", headers.get("X-Forwarded-Proto", "http") + "://" + headers["Host"] + "/home")], ""\nif path == "/home":\n    return 200, HTML, PAGE'),
    ),
    Running(
        "canonical-by-http",
        "edge.names_public_addresses",
        files=pages('if path == "/":\n    return 200, HTML, \'<!doctype html><title>T</title><link rel="canonical" href="http://%s/">\' % headers["Host"]'),
    ),
    Running(
        "forwarded-for-alarms",
        "edge.trusts_the_forwarded_headers",
        files=pages('if "X-Forwarded-For" in headers:\n    print("ValidationError: The \'X-Forwarded-For\' header is set but the Express \'trust proxy\' setting is false. ERR_ERL_UNEXPECTED_X_FORWARDED_FOR")'),
    ),
    Running(
        "one-limit-for-all",
        "edge.trusts_the_forwarded_headers",
        files=pages('LEFT[0] -= 1\nif path == "/":\n    return 200, HTML + [("RateLimit-Remaining", str(LEFT[0]))], PAGE', "LEFT = [9999]"),
    ),
    Alike(
        "a-limit-for-each",
        files=pages('who = headers.get("X-Forwarded-For", "").rpartition(",")[2]\nLEFT[who] = LEFT.get(who, 9999) - 1\nif path == "/":\n    return 200, HTML + [("RateLimit-Remaining", str(LEFT[who]))], PAGE', "LEFT = {}"),
    ),
    Running(
        "events-held-back",
        "edge.streams_events_as_they_happen",
        files=streaming("late()", LATE),
    ),
    Alike(
        "events-in-time",
        files=streaming("timely()", TIMELY),
    ),
    Running("form-refused-for-the-public-origin", "edge.accepts_posts_of_its_own_page", files=form('headers.get("Origin") == "http://" + headers["Host"]')),
    Alike("form-refused-for-its-token", files=form('"token" in body')),
    Running("answer-to-a-post-at-once", "edge.streams_events_as_they_happen", files=streaming("late()", LATE, CHATTING)),
    Alike("answer-to-a-post-as-it-comes", files=streaming("timely()", TIMELY, CHATTING)),
    Running(
        "post-redirected-to-http",
        "edge.redirects_to_public_addresses",
        files=pages(f"""
if path == "/":
    return 200, HTML, {CHATTING!r}
if path == "/chat":
    return 307, [("Location", f"http://{{headers['Host']}}/chat/")], ""
"""),
    ),
    Running(
        "socket-for-this-machine",
        "edge.opens_websockets_to_its_own_page",
        files=pages(f'if path == "/live":\n    ours = "localhost" in headers.get("Origin", "localhost")\n    return (101, [("Upgrade", "websocket"), ("Connection", "Upgrade")], "") if ours else (403, [], "")\nif path == "/":\n    return 200, HTML, {SOCKET!r}'),
    ),
    Alike(
        "socket-for-everybody",
        files=pages(f'if path == "/live":\n    return 101, [("Upgrade", "websocket"), ("Connection", "Upgrade")], ""\nif path == "/":\n    return 200, HTML, {SOCKET!r}'),
    ),
    Running(
        "callback-by-http",
        "edge.signs_in_by_the_public_address",
        files=pages('if path == "/login":\n    back = "http://" + headers["Host"] + "/callback"\n    return 302, [("Location", "https://id.example.com/authorize?client_id=1&redirect_uri=" + back)], ""'),
    ),
    Running(
        "callbacks-of-localhost",
        "edge.signs_in_by_the_public_address",
        files=pages(
            'if path == "/api/auth/providers":\n    return 200, [("Content-Type", "application/json")], \'{"hf": {"callbackUrl": "http://localhost:7860/api/auth/callback/hf"}}\''
        ),
    ),
    Alike(
        "callback-by-the-space-host",
        files=pages('if path == "/login":\n    back = "https://" + os.environ["SPACE_HOST"] + "/callback"\n    return 302, [("Location", "https://id.example.com/authorize?client_id=1&redirect_uri=" + back)], ""', "import os"),
    ),
)  # fmt: skip

SIMPLE = "<!doctype html><title>T</title><p>Hello."
SCRIPT = '<!doctype html><title>T</title><script src="/app.js"></script><p>Hello.'


def script(text: str) -> dict[str, str | bytes | None]:
    return page(SCRIPT, app_js=("text/javascript", text))


PAGE = (
    Running(
        "frame-by-helmet",
        "frame.lets_the_hub_show_the_page",
        files=page(SIMPLE, ("Content-Security-Policy", "default-src 'self';frame-ancestors 'self'"), ("X-Frame-Options", "SAMEORIGIN")),
        sample=True,
    ),
    Running(
        "frame-for-no-site",
        "frame.lets_the_hub_show_the_page",
        files=page(SIMPLE, ("Content-Security-Policy", "frame-ancestors 'none'")),
    ),
    Running(
        "frame-by-two-policies",
        "frame.lets_the_hub_show_the_page",
        files=page(SIMPLE, ("Content-Security-Policy", "frame-ancestors https://huggingface.co"), ("Content-Security-Policy", "frame-ancestors 'self'")),
    ),
    Alike("frame-reported-only", files=page(SIMPLE, ("Content-Security-Policy-Report-Only", "frame-ancestors 'none'"))),
    Alike("frame-allow-from", files=page(SIMPLE, ("X-Frame-Options", "ALLOW-FROM https://example.com"))),
    Alike("frame-overruled", files=page(SIMPLE, ("X-Frame-Options", "DENY"), ("Content-Security-Policy", "frame-ancestors https://huggingface.co https://*.hf.space"))),
    Running(
        "isolated-from-its-cdn",
        "frame.isolation_leaves_the_page_whole",
        files=page('<!doctype html><title>T</title><script src="https://cdn.example.com/x.js"></script>', ("Cross-Origin-Embedder-Policy", "require-corp")),
    ),
    Alike("isolated-and-whole", files=page('<!doctype html><title>T</title><script crossorigin src="https://cdn.example.com/x.js"></script>', ("Cross-Origin-Embedder-Policy", "require-corp"))),
    Running("cookie-lax", "frame.keeps_its_cookies", files=page(SIMPLE, ("Set-Cookie", "session=abc; HttpOnly; Path=/; SameSite=Lax"))),
    Running("cookie-of-the-suffix", "frame.keeps_its_cookies", files=page(SIMPLE, ("Set-Cookie", "sid=abc; Domain=.hf.space; SameSite=None; Secure"))),
    Running("uploads-of-streamlit", "frame.keeps_its_cookies", files=of_streamlit("file_uploader('A table')")),
    Alike("streamlit-without-uploads", files=of_streamlit("text_input('A name')")),
    Alike("cookie-partitioned", files=page(SIMPLE, ("Set-Cookie", "session=abc; HttpOnly; Secure; SameSite=None; Partitioned; Path=/"), ("Set-Cookie", "old=; Max-Age=0"))),
    Running("script-asks-localhost", "page.requests_reach_the_space", files=script('const api = "http://127.0.0.1:5000"; fetch(`${api}/rides`);'), sample=True),
    Running("script-asks-another-port", "page.requests_reach_the_space", files=script("fetch(`//${location.hostname}:8000/rides`.replace(/^/, 'https:')); fetch(`https://${location.hostname}:8000/rides`)")),
    Running("script-opens-plain-socket", "page.requests_reach_the_space", files=script('new WebSocket("ws://" + location.host + "/live")')),
    Running("attribute-asks-a-private-address", "page.requests_reach_the_space", files=page('<!doctype html><title>T</title><button hx-get="http://192.168.1.20:8000/rides">More</button>')),
    Running("form-to-a-bound-address", "page.requests_reach_the_space", files=page('<!doctype html><title>T</title><form method="post" action="http://0.0.0.0:7860/rides"><input name="a"></form>')),
    Alike("script-asks-localhost-there", files=script('const api = location.hostname === "localhost" ? "http://localhost:5000" : ""; async function f() { await fetch(api + "/"); } f();')),
    Alike("script-chooses-by-a-name", files=script('const isLocal = ["localhost", "127.0.0.1"].includes(location.hostname); let api = "http://localhost:5000"; if (!isLocal) api = location.origin; fetch(api + "/")')),
    Alike("page-tells-of-localhost", files=page("<!doctype html><title>T</title><pre>curl http://localhost:7860/</pre><input value='http://localhost:11434'>")),
    Running("script-built-for-a-project-page", "page.assets_are_there", files=page('<!doctype html><title>T</title><script type="module" src="/bikes/assets/index-1.js"></script>')),
    Running("script-is-the-front-page", "page.assets_are_there", files=pages('return 200, HTML, \'<!doctype html><title>T</title><div id="root"></div><script src="/static/js/main.js"></script>\'')),
    Running("styles-never-built", "page.assets_are_there", files=page('<!doctype html><title>T</title><link rel="stylesheet" href="css/site.css">')),
    Running("icon-is-absent", "page.assets_are_there", severity=Severity.ADVICE, files=page('<!doctype html><title>T</title><link rel="icon" href="/icon.png">')),
    Running("module-imports-what-was-not-copied", "page.assets_are_there", files=page(MODULE, app_js=("text/javascript", 'import { draw } from "./chunks/draw.js"; draw()'))),
    Running("source-never-built", "page.assets_are_there", files=page('<!doctype html><title>T</title><script type="module" src="/src/main.jsx"></script>', src__main_jsx=("application/octet-stream", "draw()"))),
    Running("font-below-another-path", "page.assets_are_there", severity=Severity.ADVICE, files=page('<!doctype html><title>T</title><link rel="stylesheet" href="/site.css">', site_css=("text/css", "@font-face { font-family: A; src: url(/bikes/a.woff2) }"))),
    Alike("module-imports-what-is-there", files=page(MODULE, app_js=("text/javascript", 'import { draw } from "./draw.js"; draw(); // import "./absent.js"'), draw_js=("text/javascript", "export function draw() {}"))),
    Alike("script-below-a-base", files=page('<!doctype html><title>T</title><base href="/ui/"><script src="app.js"></script>', ui__app_js=("text/javascript", "1"))),
    Alike("counter-is-absent", files=page('<!doctype html><title>T</title><script src="/app.js"></script>', app_js=("text/javascript", "fetch('/app.js')"))),
    Running(
        "named-path-needs-a-key",
        "page.named_paths_answer",
        severity=Severity.ADVICE,
        files=pages(
            'if path == "/":\n    return 200, HTML, \'<!doctype html><title>T</title><a href="/rides">Rides</a>\'\n'
            'if path == "/rides":\n    try:\n        os.environ["RIDES_KEY"]\n    except KeyError:\n'
            '        print(traceback.format_exc())\n        return 500, [], "failed"',
            "import os\nimport traceback",
        ),
    ),
    Running("named-path-fails", "page.named_paths_answer", files=pages('if path == "/":\n    return 200, HTML, \'<!doctype html><title>T</title><a href="/rides">Rides</a>\'\nif path == "/rides":\n    return 500, [], "failed"')),
)  # fmt: skip

VISITORS = EDGE + PAGE
