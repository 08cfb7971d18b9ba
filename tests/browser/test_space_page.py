"""Each Space must work inside the frame in which huggingface.co shows it, third-party cookies blocked."""

from __future__ import annotations

from playwright.sync_api import BrowserContext, Frame, Page, expect

from .conftest import HUB_PAGE
from .test_front_end import BACKEND_NODE, BACKEND_PY, somebody


def shown_on_the_hub(context: BrowserContext, space: str) -> tuple[Page, Frame]:
    """The Space's page on the Hub, and the frame in it that shows the Space."""
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
    """A visitor of the Space's page must be able to ask and read an answer with its sources."""
    _, frame = shown_on_the_hub(context, BACKEND_PY)
    frame.get_by_role("button", name="Ask").click()
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
    user = somebody()
    frame.get_by_label("Name").fill(user["name"])
    frame.get_by_label("Mail").fill(user["email"])
    frame.get_by_label("Password").fill(user["password"])
    frame.get_by_role("button", name="Sign up").click()
    expect(frame.get_by_role("status")).to_contain_text(user["email"])
    frame.get_by_role("button", name="session").click()
    expect(frame.locator("pre")).to_contain_text(user["email"])


def test_the_session_cookie_holds_in_the_frame_alone(context: BrowserContext) -> None:
    """In the frame the partitioned session cookie must hold where an ordinary one does not, and the Space itself must not know of it."""
    _, frame = shown_on_the_hub(context, BACKEND_NODE)
    frame.evaluate("() => { document.cookie = 'ordinary=1; SameSite=None; Secure' }")
    sign_up = """async (user) => {
      const headers = { "Content-Type": "application/json" };
      const answer = await fetch("/api/auth/sign-up/email", { method: "POST", headers, body: JSON.stringify(user) });
      return answer.status;
    }"""
    assert frame.evaluate(sign_up, somebody()) == 200
    look = "async () => (await (await fetch('/api/auth/get-session')).json())?.user.name ?? null"
    assert frame.evaluate(look) == "Ada"
    (cookie,) = context.cookies()
    assert "session_token" in cookie["name"]
    assert cookie.get("partitionKey") == HUB_PAGE
    itself = context.new_page()
    itself.goto(BACKEND_NODE)
    assert itself.evaluate(look) is None


def test_the_frame_has_storage_of_its_own(context: BrowserContext) -> None:
    """What a Space keeps in localStorage inside the frame must not be there when it is opened by itself."""
    _, frame = shown_on_the_hub(context, BACKEND_PY)
    frame.evaluate("() => localStorage.setItem('theme', 'dark')")
    read = "() => localStorage.getItem('theme')"
    assert frame.evaluate(read) == "dark"
    itself = context.new_page()
    itself.goto(BACKEND_PY)
    assert itself.evaluate(read) is None
