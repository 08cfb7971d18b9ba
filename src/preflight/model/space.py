"""A Space: the folder that is pushed, and its declarations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from preflight.model.environment import EnvironmentDeclaration
from preflight.model.frontmatter import (
    DEFAULT_APP_PORT,
    FrontMatter,
    FrontMatterError,
    means_a_space,
)
from preflight.model.given import looks_sensitive
from preflight.model.policy import Policy
from preflight.model.program import typed


class SpaceError(Exception):
    """A target that is not a Space folder; the message says what to do."""


class NoFolder(Exception):
    """The operation needs the Space's folder, and only its URL is known."""


@dataclass(frozen=True)
class Space:
    """One Docker Space under test.

    `source` is the folder that is judged, built and run: the working folder, or with `--ref` a
    clean export of the commit. It is None when only a URL is known (`--live`).
    `working_folder` is the folder in its repository, and `ref` the revision that would be pushed.
    `given` holds the values of variables for this run.
    """

    name: str
    source: Path | None
    working_folder: Path | None = None
    ref: str | None = None
    url: str | None = None
    given: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The Space's folder.

        Raises:
            NoFolder: when only a URL is known.
        """
        if self.source is None:
            raise NoFolder(f"needs the Space's folder: {self.name} is known by its URL alone")
        return self.source

    @property
    def readme_bytes(self) -> bytes:
        """README.md as pushed; empty when there is none."""
        readme = self.folder / "README.md"
        return readme.read_bytes() if readme.is_file() else b""

    @property
    def front_matter(self) -> FrontMatter:
        """The README's front matter, read as the Hub reads it.

        Raises:
            FrontMatterError: when the Hub would not recognise or could not read it.
        """
        if isinstance(self._front_matter, FrontMatterError):
            raise FrontMatterError(self._front_matter.problem)
        return self._front_matter

    @cached_property
    def _front_matter(self) -> FrontMatter | FrontMatterError:
        # The error is cached too: an enormous file takes longest to read.
        try:
            return FrontMatter.of_readme(self.readme_bytes)
        except FrontMatterError as error:
            return error

    @cached_property
    def declaration(self) -> EnvironmentDeclaration | None:
        """The declaration in `.env.example`; None when the file is absent.

        Raises:
            EnvironmentDeclarationError: with one line per fault, each with file and line number.
        """
        path = self.folder / ".env.example"
        return EnvironmentDeclaration.of_file(path) if path.is_file() else None

    @cached_property
    def policy(self) -> Policy:
        """The choices in `preflight.toml`; the defaults when the file is absent.

        Raises:
            PolicyError: when it can't be used.
        """
        return Policy.of_folder(self.source)

    @property
    def environment(self) -> dict[str, str]:
        """A value for every variable that the Space needs: given for this run, or else made from its
        declaration.

        Raises:
            EnvironmentDeclarationError: when the declaration can't be read.
        """
        declared = self.declaration.valid_environment() if self.declaration else {}
        return {**declared, **self.given}

    def is_secret(self, name: str) -> bool:
        """Whether a variable is a Secret: by its declaration, or else by its name."""
        declaration = self.declaration
        declared = declaration.variables if declaration and declaration.decorated else ()
        known = {variable.name: variable.sensitive for variable in declared}
        return known[name] if name in known else looks_sensitive(name)

    @cached_property
    def secrets_to_find(self) -> dict[str, str]:
        """The values of declared Secrets that no file of the Space contains: any occurrence is a leak."""
        declaration = self.declaration
        if declaration is None:
            return {}
        values = declaration.valid_environment()
        made_up = [
            secret for secret in declaration.secrets if len(values.get(secret.name, "")) >= 16
        ]
        return {
            variable.name: values[variable.name]
            for variable in made_up
            if values[variable.name] not in (variable.example, variable.default, variable.sample)
        }

    @property
    def follows_conventions(self) -> bool:
        """Whether its owner promises more than the Hub requires."""
        return self.policy.conventions

    @property
    def app_port(self) -> int:
        """The port to which the Hub connects: `app_port`, or its default when it cannot be read."""
        if self.source is None:
            return DEFAULT_APP_PORT
        try:
            port = self.front_matter.get("app_port", DEFAULT_APP_PORT)
        except FrontMatterError:
            return DEFAULT_APP_PORT
        return port if type(port) is int else DEFAULT_APP_PORT


def space_of_folder(folder: Path, *, name: str | None = None) -> Space:
    """The Space in `folder`, with the present files of the working tree.

    Raises:
        SpaceError: when the folder does not exist or is not a folder.
    """
    resolved = folder.expanduser().resolve()
    if not resolved.exists():
        raise SpaceError(f"{folder} does not exist; name the folder that holds the Dockerfile")
    if not resolved.is_dir():
        raise SpaceError(f"{folder} is a file; name the folder that holds it, {resolved.parent}")
    return Space(name or resolved.name, source=resolved, working_folder=resolved)


def spaces_of_compose(compose_yaml: Path) -> list[Space]:
    """The Spaces among a compose file's services, in the file's order.

    A service is a Space when it builds a local folder whose README is meant to be a Space's. An
    invalid README (broken YAML, no `sdk`, another `sdk`) counts too: the checks report its fault, and
    leaving it out would hide a Space that cannot be pushed.

    Raises:
        SpaceError: when the file cannot be read or a build context does not exist.
    """
    try:
        document = yaml.load(compose_yaml.read_bytes(), Loader=_ComposeLoader)
    except OSError as error:
        raise SpaceError(f"{compose_yaml} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise SpaceError(f"{compose_yaml} is not valid YAML: {error}") from error
    services = document.get("services") if isinstance(document, dict) else None
    if not isinstance(services, dict):
        raise SpaceError(f"{compose_yaml} has no `services:`")
    spaces = []
    for name, service in services.items():
        context = _build_context(service)
        if context is None:
            continue
        folder = compose_yaml.parent / context
        if not folder.is_dir():
            raise SpaceError(
                f"{compose_yaml}: service {name} builds {context}, which is not a folder; "
                f"to remove the service: {typed(f'new {name} --remove')}"
            )
        readme = folder / "README.md"
        if readme.is_file() and means_a_space(readme.read_bytes()):
            spaces.append(space_of_folder(folder, name=str(name)))
    return spaces


def _build_context(service: Any) -> str | None:
    build = service.get("build") if isinstance(service, dict) else None
    context = build.get("context", ".") if isinstance(build, dict) else build
    # A context may also be a git URL, which has no folder here.
    return context if isinstance(context, str) and "://" not in context else None


class _ComposeLoader(yaml.SafeLoader):
    """Ignores the tags of Compose (`!reset`, `!override`)."""


_ComposeLoader.add_multi_constructor("!", lambda loader, suffix, node: None)
