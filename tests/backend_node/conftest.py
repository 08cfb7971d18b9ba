"""backend-node on each of its databases, in separate containers."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from preflight.engine.container import Container, SpaceContainer
from preflight.engine.docker import Completed, DockerError, docker
from preflight.engine.image import Image, build_own, build_space, stand_in
from preflight.engine.run import Run
from preflight.model.space import Space
from preflight.pytest_plugin.running import failed
from tests.backend_node.calling import COMMON, PASSWORD, SECRET, Caller
from tests.backend_node.loading import Generator

READ_ONLY = [
    *("--read-only", "--tmpfs=/tmp", "--tmpfs=/home/node:uid=1000,gid=1000"),
    *("--cap-drop=ALL", "--security-opt=no-new-privileges"),
]
KINDS = ["sqlite", "postgres"]
DOUBLES = Path(__file__).parent.parent / "doubles"
POSTGRES_PASSWORD = "password-of-the-test-database"

StartAuth = Callable[..., Container]
NewDatabase = Callable[[str], str]


class Postgres:
    """A Postgres server that Spaces on `network` reach as `postgres`."""

    def __init__(self, run: Run, network: str) -> None:
        def ensure() -> str:
            return stand_in("postgres:15") or "postgres:15"

        image = Image(run.once("image-postgres", ensure), run.folder / "build-postgres.log")
        environment = {"POSTGRES_USER": "auth", "POSTGRES_PASSWORD": POSTGRES_PASSWORD}
        # The folder of its socket may be missing in an image that was never booted.
        socket = "--tmpfs=/var/run/postgresql:mode=1777"
        options = ["--user=postgres", f"--network={network}", "--network-alias=postgres", socket]
        self.container = SpaceContainer.start(
            run, image, "postgres", {**environment, "POSTGRES_DB": "auth"}, 5432, options
        )
        self.wait()
        # A tmpfs loses its mode when a container restarts.
        self._run("psql", "-c", "ALTER SYSTEM SET unix_socket_directories = '/tmp'", "auth")

    def wait(self) -> None:
        """Wait until it answers over TCP, the last step of the official image's first start."""
        probe = "until pg_isready --quiet --host=127.0.0.1; do sleep 0.05; done"
        try:
            docker("exec", self.container.id, "sh", "-c", probe)
        except DockerError:
            raise AssertionError(self.container.describe("did not become ready")) from None

    def revive(self) -> None:
        """Start it again, whatever state a test left."""
        docker("unpause", self.container.id, check=False)
        docker("start", self.container.id)
        self.wait()

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"auth_{secrets.token_hex(4)}"
        self._run("createdb", name)
        return f"postgres://auth:{POSTGRES_PASSWORD}@postgres:5432/{name}"

    def query(self, url: str, sql: str) -> str:
        """The output of psql for `sql`, without headings."""
        database = url.rpartition("/")[2]
        return str(self._run("psql", "--tuples-only", "--no-align", "-c", sql, database).stdout)

    def _run(self, program: str, *arguments: str) -> Completed:
        password = f"--env=PGPASSWORD={POSTGRES_PASSWORD}"
        where = ["--host=127.0.0.1", "--username=auth"]
        return docker("exec", password, self.container.id, program, *where, *arguments)


@pytest.fixture(scope="session")
def node_image(run: Run, own_spaces: dict[str, Space]) -> Image:
    return build_space(run, own_spaces["backend-node"])


@pytest.fixture(scope="session")
def network(run: Run, worker_id: str) -> Iterator[str]:
    """The network of Spaces, databases and stand-ins."""
    name = f"{run.id}-auth-{worker_id}"
    docker("network", "create", *run.labels, name)
    yield name
    docker("network", "rm", name, check=False)


@pytest.fixture(scope="session")
def postgres(run: Run, network: str) -> Iterator[Postgres]:
    """The shared Postgres. A test that stops it must revive it."""
    server = Postgres(run, network)
    yield server
    server.container.remove()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """The database under test. A module whose tests reach no database overrides it with a fixed kind."""
    return str(request.param)


@pytest.fixture(scope="session")
def new_database(request: pytest.FixtureRequest) -> NewDatabase:
    """`new_database("postgres")`: the URL of an empty database, for `DATABASE_URL`."""

    def new(kind: str) -> str:
        if kind == "sqlite":
            return "sqlite:/home/node/auth.db"
        postgres: Postgres = request.getfixturevalue("postgres")
        return postgres.database()

    return new


@pytest.fixture(scope="session")
def server_on(
    run: Run,
    node_image: Image,
    network: str,
    new_database: NewDatabase,
    request: pytest.FixtureRequest,
) -> Iterator[Callable[[str], Container]]:
    """`server_on("postgres")`: the server on that database, started at the first call."""
    running: dict[str, Container] = {}
    with ExitStack() as stack:

        def server_on(kind: str) -> Container:
            if kind not in running:
                environment = {**COMMON, "DATABASE_URL": new_database(kind)}
                options = [f"--network={network}", *READ_ONLY]
                server = SpaceContainer.start(
                    run, node_image, "backend-node", environment, options=options
                )
                running[kind] = stack.enter_context(server)
                server.wait_until_serving("/ready", status=200)
            return running[kind]

        yield server_on
        for server in running.values():
            if request.session.testsfailed:
                server.save(run.folder)
            assert server.get("/health").status_code == 200, server.describe("died")
            clean_log(server)


@pytest.fixture
def auth(kind: str, server_on: Callable[[str], Container]) -> Container:
    """The shared server on each database. Tests must not stop it.

    At the end it must still run, and its log must hold JSON lines without secrets.
    """
    return server_on(kind)


@contextmanager
def _starting(
    run: Run, image: Image, network: str, has_failed: Callable[[], bool]
) -> Iterator[StartAuth]:
    started: list[Container] = []

    def start(
        ready: bool = True,
        options: tuple[str, ...] = (),
        name: str = "backend-node",
        **environment: str,
    ) -> Container:
        given = {**COMMON, "DATABASE_URL": "sqlite:/home/node/auth.db", **environment}
        join = [f"--network={network}", f"--network-alias={name}", *options]
        server = SpaceContainer.start(run, image, name, given, options=join)
        started.append(server)
        if ready:
            server.wait_until_serving("/ready", status=200)
        return server

    try:
        yield start
    finally:
        for server in started:
            if has_failed():
                server.save(run.folder)
            server.remove()


@pytest.fixture
def start_auth(
    run: Run, node_image: Image, network: str, request: pytest.FixtureRequest
) -> Iterator[StartAuth]:
    """`start_auth(DATABASE_URL=…, SIGNUP=…)`: a server for this test alone, ready unless `ready=False`."""
    with _starting(run, node_image, network, lambda: failed(request.node)) as start:
        yield start


@pytest.fixture(scope="module")
def start_for_all(
    run: Run, node_image: Image, network: str, request: pytest.FixtureRequest
) -> Iterator[StartAuth]:
    """The same for all tests of a module."""
    with _starting(run, node_image, network, lambda: request.session.testsfailed > 0) as start:
        yield start


@pytest.fixture
def caller(auth: Container) -> Caller:
    """A new caller."""
    return Caller(auth)


@pytest.fixture
def member(auth: Container) -> Caller:
    """A user who has just signed up."""
    new = Caller(auth)
    assert new.sign_up().status_code == 200
    return new


@pytest.fixture(scope="session")
def _accounts() -> dict[str, Caller]:
    return {}


@pytest.fixture
def known(auth: Container, _accounts: dict[str, Caller]) -> Caller:
    """A user whose account many tests share, with a separate address. Tests only read the account."""
    if auth.id not in _accounts:
        first = Caller(auth)
        assert first.sign_up().status_code == 200
        _accounts[auth.id] = first
    account, again = _accounts[auth.id], Caller(auth)
    again.mail, again.cookie, again.token = account.mail, account.cookie, account.token
    return again


@pytest.fixture(scope="session")
def mail_api(run: Run, network: str) -> Iterator[Container]:
    """Accepts mails at http://mail:8080/emails and lists them at /sent."""
    image = build_own(run, "mail", DOUBLES / "mail")
    options = [f"--network={network}", "--network-alias=mail"]
    with SpaceContainer.start(run, image, "mail", {}, 8080, options) as container:
        container.wait_until_serving("/sent", status=200)
        yield container


@pytest.fixture(scope="session")
def outside(run: Run, network: str) -> Iterator[Container]:
    """The outside services that a server with the settings OUTSIDE calls."""
    image = build_own(run, "outside", DOUBLES / "outside")
    names = ["api.pwnedpasswords.com", "challenges.cloudflare.com"]
    names += ["github.com", "api.github.com", "huggingface.co"]
    options = [f"--network={network}", *(f"--network-alias={name}" for name in names)]
    with SpaceContainer.start(run, image, "outside", {}, 8080, options) as container:
        container.wait_until_serving("/health", status=200)
        yield container


@pytest.fixture(scope="module")
def relay(run: Run, network: str, postgres: Postgres) -> Iterator[str]:
    """The URL of a WebSocket relay to `postgres`, for `DATABASE_WEBSOCKET`."""
    image = build_own(run, "websocket-relay", DOUBLES / "websocket_relay")
    options = [f"--network={network}", "--network-alias=relay"]
    with SpaceContainer.start(
        run, image, "relay", {"RELAY_TO": "postgres:5432"}, 8080, options
    ) as container:
        container.wait_until_serving("/health", status=200)
        yield "ws://relay:8080/v1"


@pytest.fixture(scope="session")
def peers_image(run: Run) -> Image:
    """The image of the servers to compare with, and of the load generator."""
    return build_own(run, "node-peers", DOUBLES / "node_peers")


@pytest.fixture(scope="session")
def generator(run: Run, peers_image: Image, network: str) -> Iterator[Generator]:
    """Sends load to servers on the network."""
    with SpaceContainer.start(
        run, peers_image, "generator", {}, options=[f"--network={network}"]
    ) as container:
        yield Generator(container)


def clean_log(server: Container) -> None:
    """Check that each line is JSON, each request has a line, and no line holds a secret."""
    lines = [line for line in server.logs().splitlines() if line]
    strange = [line for line in lines if not line.startswith("{")]
    assert not strange, "not JSON: " + "\n".join(strange)
    events = [json.loads(line) for line in lines]
    requests = [event for event in events if event["msg"] == "request" and "path" in event]
    assert requests, "no request was logged"
    for event in requests:
        assert event.keys() >= {"time", "level", "requestId", "method", "path", "status", "ms"}
        assert "?" not in event["path"]
    for secret in (SECRET, PASSWORD, POSTGRES_PASSWORD, "session_token", "@example.com", "Bearer"):
        assert secret not in "\n".join(lines)
