"""A front end on another site must be able to use both Spaces as docs/frontend.md says, and no more.

Each Space must work inside its frame on huggingface.co. Third-party cookies are blocked. All tests are
in one module, so that a single worker starts the sites and the browser.
"""

from __future__ import annotations

import re
import secrets
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Error, Frame, Page, expect

from .conftest import ATTACKER, FRONT, HUB_PAGE, Sites, examples

BACKEND_PY = "https://acme-backend-py.hf.space"
BACKEND_NODE = "https://acme-backend-node.hf.space"
PASSWORD = "correct horse battery staple"
QUESTION = "Why is my Space stuck on Starting?"

# The first request of most front ends, which fails on the Hub.
CREDENTIALED_JSON = """
async function callWithCredentials(path, body) {
  const response = await fetch(`https://acme-backend-node.hf.space/api/auth/${path}`, {
    method: body ? "POST" : "GET",
    credentials: "include",
    headers: body && { "Content-Type": "application/json" },
    body: body && JSON.stringify(body),
  });
  return await response.json();
}
"""

THROUGH = pytest.mark.parametrize("way", ["direct", "edge"])


def open_front(context: BrowserContext, sites: Sites, way: str) -> Page:
    """A page of the front end whose examples use the Spaces through the edge, or at their own port."""
    page = context.new_page()
    page.goto(FRONT)
    direct = {"backend_py": sites.backend_py.url, "backend_node": sites.backend_node.url}
    page.add_script_tag(content=examples(**(direct if way == "direct" else {})))
    return page


def new_user() -> dict[str, str]:
    return {"name": "Ada", "email": f"ada-{secrets.token_hex(4)}@example.com", "password": PASSWORD}


def life_of_an_account(page: Page, function: str) -> dict[str, Any]:
    """Sign up, sign out, sign in, with the session read after each; returns the sessions."""
    user = new_user()
    seen: dict[str, Any] = page.evaluate(
        f"""async (user) => {{
          const look = async () => (await {function}("get-session"))?.user.email ?? null;
          const seen = {{}};
          await {function}("sign-up/email", user);
          seen.signedUp = await look();
          await {function}("sign-out", {{}});
          seen.signedOut = await look();
          await {function}("sign-in/email", {{ email: user.email, password: user.password }});
          seen.signedIn = await look();
          return seen;
        }}""",
        user,
    )
    assert seen == {"signedUp": user["email"], "signedOut": None, "signedIn": user["email"]}
    return seen


@THROUGH
def test_asks_and_reads_the_answer_as_it_comes(
    context: BrowserContext, sites: Sites, way: str
) -> None:
    """A page on another site must get the answer in parts, with its sources first and an end."""
    page = open_front(context, sites, way)
    events = page.evaluate(
        """async (question) => {
          const events = [];
          for await (const event of askStreamed(question)) events.push(event);
          return events;
        }""",
        QUESTION,
    )
    names = [name for name, _ in events]
    assert names[:2] == ["meta", "sources"]
    assert names[-1] == "done"
    text = "".join(data["text"] for name, data in events if name == "delta")
    assert "delta" in names
    whole = page.evaluate("async (question) => await ask(question)", QUESTION)
    assert whole["answer"] == text
    assert whole["sources"] == events[1][1]["sources"]


@THROUGH
def test_the_widget_answers_on_another_site(
    context: BrowserContext, sites: Sites, way: str
) -> None:
    """The widget must work by keyboard alone and link its sources to the Space."""
    page = context.new_page()
    page.goto(FRONT)
    space = sites.backend_py.url if way == "direct" else BACKEND_PY
    page.add_script_tag(url=f"{space}/widget.js")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.type(QUESTION)
    page.keyboard.press("Shift+Enter")
    page.keyboard.press("Enter")
    panel = page.get_by_role("dialog", name="Ask the book")
    sources = panel.get_by_role("list", name="Sources").get_by_role("link")
    expect(sources.first).to_have_attribute("href", re.compile(rf"^{re.escape(space)}/book/.+"))
    expect(panel.locator("#answer sup a").first).to_have_text("[1]")
    violations = Axe().run(page, options={"rules": {"region": {"enabled": False}}})
    assert violations.violations_count == 0, violations.generate_report()
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    assert context.cookies() == []


def test_the_widget_names_a_refusal(context: BrowserContext, sites: Sites) -> None:
    """On a site outside CORS_ORIGINS the widget must report the refusal, not wait."""
    page = context.new_page()
    page.goto(ATTACKER)
    page.add_script_tag(url=f"{BACKEND_PY}/widget.js")
    page.get_by_role("button", name="Ask the book").click()
    page.keyboard.type(QUESTION)
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("may not call the service")


@THROUGH
def test_a_bearer_token_needs_no_cookie(context: BrowserContext, sites: Sites, way: str) -> None:
    """Sign-up, session, sign-out and sign-in must work from another site without any cookie."""
    page = open_front(context, sites, way)
    life_of_an_account(page, "call")
    assert context.cookies() == []


def test_cookies_across_sites_work_at_the_port_itself(
    context: BrowserContext, sites: Sites
) -> None:
    """Without the edge, JSON with credentials must work with COOKIE_MODE=cross-site, the cookie kept apart for each front end."""
    page = open_front(context, sites, "direct")
    page.add_script_tag(content=CREDENTIALED_JSON.replace(BACKEND_NODE, sites.backend_node.url))
    life_of_an_account(page, "callWithCredentials")
    (cookie,) = [
        candidate for candidate in context.cookies() if "session_token" in candidate["name"]
    ]
    assert (cookie["sameSite"], cookie["secure"], cookie["httpOnly"]) == ("None", True, True)
    assert cookie.get("partitionKey") == FRONT


def test_cookies_across_sites_fail_through_the_edge(context: BrowserContext, sites: Sites) -> None:
    """Through the edge the same call must fail as it does on the Hub: its answer to the preflight request names no Access-Control-Allow-Credentials.

    The Space does not cause this and cannot fix it: docs/frontend.md has three workarounds.
    """
    page = open_front(context, sites, "edge")
    page.add_script_tag(content=CREDENTIALED_JSON)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    with pytest.raises(Error, match="Failed to fetch"):
        page.evaluate("(user) => callWithCredentials('sign-up/email', user)", new_user())
    reason = "The value of the 'Access-Control-Allow-Credentials' header in the response is ''"
    assert any(reason in line for line in said), said
    assert context.cookies() == []


def test_cookies_without_a_preflight_request_work_through_the_edge(
    context: BrowserContext, sites: Sites
) -> None:
    """JSON that travels as text/plain must bring a cookie that belongs to this front end and this Space."""
    page = open_front(context, sites, "edge")
    life_of_an_account(page, "callWithCookies")
    (cookie,) = [
        candidate for candidate in context.cookies() if "session_token" in candidate["name"]
    ]
    assert (cookie["sameSite"], cookie["secure"]) == ("None", True)
    assert cookie.get("partitionKey") == FRONT


def test_forwarding_makes_the_cookies_first_party(context: BrowserContext, sites: Sites) -> None:
    """With third-party cookies blocked, sign-in must survive a reload when the front end's own host forwards to the Space."""
    page = open_front(context, sites, "edge")
    life_of_an_account(page, "authenticate")
    page.reload()
    page.add_script_tag(content=examples())
    assert page.evaluate("async () => (await authenticate('get-session'))?.user.name") == "Ada"
    (cookie,) = [
        candidate for candidate in context.cookies() if "session_token" in candidate["name"]
    ]
    assert (cookie["domain"], cookie["sameSite"]) == ("front.vercel.app", "Lax")
    assert (cookie["httpOnly"], cookie.get("partitionKey")) == (True, None)


@THROUGH
def test_a_refused_origin_reads_nothing(context: BrowserContext, sites: Sites, way: str) -> None:
    """A page of an unlisted site must read no answer at the port itself, and through the edge no more than a refusal."""
    page = context.new_page()
    page.goto(ATTACKER)
    direct = way == "direct"
    asked = {
        "GET health": [f"{sites.backend_py.url if direct else BACKEND_PY}/health", None],
        "POST chat": [f"{sites.backend_py.url if direct else BACKEND_PY}/chat", {"question": "?"}],
        "GET session": [
            f"{sites.backend_node.url if direct else BACKEND_NODE}/api/auth/get-session",
            None,
        ],
        "POST sign-up": [
            f"{sites.backend_node.url if direct else BACKEND_NODE}/api/auth/sign-up/email",
            new_user(),
        ],
    }
    got = page.evaluate(
        """async (asked) => {
          const got = {};
          for (const [name, [url, body]] of Object.entries(asked)) {
            const headers = body ? { "Content-Type": "application/json" } : {};
            const request = { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) };
            got[name] = await fetch(url, request).then((answer) => answer.status, (error) => error.message);
          }
          return got;
        }""",
        asked,
    )
    if direct:
        assert set(got.values()) == {"Failed to fetch"}
    else:
        # The edge lets every origin read; the Spaces themselves refuse private requests.
        assert got == {
            "GET health": 200,
            "POST chat": 403,
            "GET session": 403,
            "POST sign-up": 403,
        }


def shown_on_the_hub(context: BrowserContext, space: str) -> tuple[Page, Frame]:
    """The Space's page on the Hub, and the frame of the Space in it."""
    page = context.new_page()
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(HUB_PAGE)
    page.evaluate(
        """(space) => new Promise((loaded) => {
          const frame = document.createElement("iframe");
          frame.src = space;
          frame.onload = loaded;
          document.body.append(frame);
        })""",
        space,
    )
    frame = page.frames[1]
    assert frame.url.startswith(space), f"the browser shows no frame of {space}: {refused}"
    expect(frame.locator("h1")).to_be_visible()
    return page, frame


def test_backend_py_answers_in_the_frame(context: BrowserContext) -> None:
    """A visitor of the Space's page must be able to send a question and read an answer with its sources."""
    _, frame = shown_on_the_hub(context, BACKEND_PY)
    frame.get_by_label("Your question").fill(QUESTION)
    frame.get_by_role("button", name="Ask", exact=True).click()
    expect(frame.locator("#sources a").first).to_be_visible()
    expect(frame.locator("#answer")).not_to_be_empty()


def test_the_reference_of_backend_py_needs_no_other_site(context: BrowserContext) -> None:
    """The API's reference must work in the frame, loaded from the Space alone."""
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    _, frame = shown_on_the_hub(context, f"{BACKEND_PY}/docs")
    expect(frame.get_by_role("button", name="post /chat", exact=False).first).to_be_visible()
    assert {url for url in asked if not url.startswith((HUB_PAGE, BACKEND_PY, "data:"))} == set()


def test_backend_node_signs_in_inside_the_frame(context: BrowserContext) -> None:
    """A visitor of the Space's page must be able to sign up and see the session by the page's own form."""
    _, frame = shown_on_the_hub(context, BACKEND_NODE)
    user = new_user()
    frame.get_by_label("Name").fill(user["name"])
    frame.get_by_label("Mail").fill(user["email"])
    frame.get_by_label("Password").fill(user["password"])
    frame.get_by_role("button", name="Sign up").click()
    expect(frame.get_by_role("status")).to_contain_text(user["email"])
    frame.get_by_role("button", name="session").click()
    expect(frame.locator("pre")).to_contain_text(user["email"])


def test_backend_node_shows_sessions_and_ends_them(context: BrowserContext) -> None:
    """A visitor must see every signed-in device, and be able to sign out each of the others."""
    _, frame = shown_on_the_hub(context, BACKEND_NODE)
    user = new_user()
    frame.get_by_label("Mail").fill(user["email"])
    frame.get_by_label("Password").fill(user["password"])
    frame.get_by_role("button", name="Sign up").click()
    expect(frame.get_by_role("status")).to_contain_text(user["email"])
    sign_in = """async (user) => {
      const headers = { "Content-Type": "application/json" };
      const given = { method: "POST", credentials: "omit", headers, body: JSON.stringify(user) };
      const answer = await fetch("/api/auth/sign-in/email", given);
      return answer.headers.get("set-auth-token");
    }"""
    phone = frame.evaluate(sign_in, user)
    frame.get_by_role("button", name="Show devices").click()
    devices = frame.get_by_role("list", name="Devices").get_by_role("listitem")
    expect(devices).to_have_count(2)
    frame.get_by_role("button", name="Sign this device out").click()
    expect(devices).to_have_count(1)
    expect(devices).to_contain_text("this device")
    look = """async (token) => {
      const headers = { authorization: "Bearer " + token };
      return (await fetch("/api/auth/get-session", { credentials: "omit", headers })).json();
    }"""
    assert frame.evaluate(look, phone) is None


def test_the_session_cookie_holds_in_the_frame_alone(context: BrowserContext) -> None:
    """The partitioned session cookie must work in the frame alone, where an ordinary cookie does not.

    The Space opened by itself must not receive it.
    """
    _, frame = shown_on_the_hub(context, BACKEND_NODE)
    frame.evaluate("() => { document.cookie = 'ordinary=1; SameSite=None; Secure' }")
    sign_up = """async (user) => {
      const headers = { "Content-Type": "application/json" };
      const answer = await fetch("/api/auth/sign-up/email", { method: "POST", headers, body: JSON.stringify(user) });
      return answer.status;
    }"""
    assert frame.evaluate(sign_up, new_user()) == 200
    look = "async () => (await (await fetch('/api/auth/get-session')).json())?.user.name ?? null"
    assert frame.evaluate(look) == "Ada"
    names = {cookie["name"] for cookie in context.cookies()}
    assert "ordinary" not in names and any("session_token" in name for name in names)
    for cookie in context.cookies():
        assert cookie.get("partitionKey") == HUB_PAGE
    itself = context.new_page()
    itself.goto(BACKEND_NODE)
    assert itself.evaluate(look) is None


def test_the_frame_has_separate_storage(context: BrowserContext) -> None:
    """A Space's localStorage in the frame must be separate from its localStorage outside."""
    _, frame = shown_on_the_hub(context, BACKEND_PY)
    frame.evaluate("() => localStorage.setItem('theme', 'dark')")
    read = "() => localStorage.getItem('theme')"
    assert frame.evaluate(read) == "dark"
    itself = context.new_page()
    itself.goto(BACKEND_PY)
    assert itself.evaluate(read) is None
