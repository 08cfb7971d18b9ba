"""`preflight init` must draft the missing files from a folder's code."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from preflight.cli.main import preflight
from preflight.model.environment import EnvironmentDeclaration, Variable
from preflight.model.given import GivenError, given_values, looks_sensitive
from preflight.rules.reads import needed

PYTHON = """\
import os
from decouple import config
from pydantic_settings import BaseSettings, SettingsConfigDict

class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="APP_")
    database_url: str
    workers: int = 2
    note: str | None = None

KEY = os.environ["API_KEY"]
LEVEL = os.getenv("LOG_LEVEL", "info")
ITEMS = int(os.environ["MAX_ITEMS"])
DEBUG = config("SHOW_TRACES", default=False, cast=bool)
TOKEN = config("BOT_TOKEN")
os.environ["TOKENIZERS_PARALLELISM"] = "false"
SPACE = os.environ["SPACE_ID"]
"""
NODE = """\
import { z } from "zod";
const env = z.object({
  MONGO_URI: z.string().url(),
  PAGE_SIZE: z.coerce.number().default(20),
}).parse(process.env);
const format = process.env.LOG_FORMAT || "json";
process.env.FLAG = "1";
"""
SHELL = """\
#!/bin/sh
set -eu
: "${ADMIN_PASSWORD:?set it}"
REGION=${REGION:-eu}
LOCAL=1
echo "$LOCAL $CHANNEL"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of code in three languages, without the other files of a Space."""
    (tmp_path / "main.py").write_text(PYTHON)
    (tmp_path / "server.mjs").write_text(NODE)
    (tmp_path / "start.sh").write_text(SHELL)
    (tmp_path / "Dockerfile").write_text("FROM scratch\nENV CHANNEL=stable\nEXPOSE 8000\n")
    return tmp_path


def run(*arguments: str) -> str:
    done = CliRunner().invoke(preflight, arguments)
    assert done.exit_code == 0, done.output
    return done.output


def declared(folder: Path) -> dict[str, Variable]:
    declaration = EnvironmentDeclaration.of_file(folder / ".env.example")
    return {variable.name: variable for variable in declaration.variables}


def test_the_declaration_names_what_the_code_reads(folder: Path) -> None:
    """Each variable that the code reads, and no other, must be declared once, as its read suggests."""
    run("init", str(folder))
    found = declared(folder)
    assert {name for name, variable in found.items() if variable.required} == {
        *("APP_DATABASE_URL", "API_KEY", "MAX_ITEMS", "BOT_TOKEN", "MONGO_URI", "ADMIN_PASSWORD"),
    }
    assert {name for name, variable in found.items() if not variable.required} == {
        *(
            "APP_WORKERS",
            "APP_NOTE",
            "LOG_LEVEL",
            "SHOW_TRACES",
            "PAGE_SIZE",
            "LOG_FORMAT",
            "REGION",
        ),
    }
    assert {name for name, variable in found.items() if variable.sensitive} == {
        *("APP_DATABASE_URL", "API_KEY", "BOT_TOKEN", "MONGO_URI", "ADMIN_PASSWORD"),
    }
    types = {
        name: variable.type.name
        for name, variable in found.items()
        if variable.type.name != "string"
    }
    assert types == {
        **{"APP_DATABASE_URL": "url", "MONGO_URI": "url", "SHOW_TRACES": "boolean"},
        **{"APP_WORKERS": "number", "MAX_ITEMS": "number", "PAGE_SIZE": "number"},
    }
    assert found["LOG_LEVEL"].default == "info"


def test_no_existing_file_is_overwritten(folder: Path) -> None:
    """The owner's files must stay byte for byte; a README without front matter must keep its text."""
    for name in (".env.example", ".dockerignore"):
        (folder / name).write_text("# mine\n")
    (folder / "README.md").write_text("# My Space\n")
    run("init", str(folder))
    assert (folder / ".env.example").read_text() == "# mine\n"
    assert (folder / ".dockerignore").read_text() == "# mine\n"
    readme = (folder / "README.md").read_text()
    assert readme.startswith("---\ntitle: ") and readme.endswith("---\n# My Space\n")
    assert "app_port: 8000" in readme, "the port that the Dockerfile exposes"
    assert "nothing to write" in run("init", str(folder))


def test_a_dry_run_must_write_nothing(folder: Path) -> None:
    before = sorted(folder.iterdir())
    assert "API_KEY=" in run("init", str(folder), "--dry-run")
    assert sorted(folder.iterdir()) == before


def test_what_the_code_can_do_without_is_not_needed(folder: Path) -> None:
    """A finding on a start must name the variables that the code requires, and none that the Hub sets."""
    names = {variable.name for variable in needed(folder)}
    assert {"API_KEY", "BOT_TOKEN"} <= names
    assert not names & {"LOG_LEVEL", "SPACE_ID", "TOKENIZERS_PARALLELISM"}


@pytest.mark.parametrize(
    ("name", "sensitive"),
    [
        *(("API_KEY", True), ("DATABASE_URL", True), ("JWT_SECRET", True), ("HF_TOKEN", True)),
        *(("MAX_TOKENS", False), ("AWS_ACCESS_KEY_ID", False), ("NEXT_PUBLIC_KEY", False)),
        *(("LOG_LEVEL", False), ("TOKENIZERS_PARALLELISM", False), ("AUTHOR", False)),
    ],
)
def test_a_name_must_suggest_a_secret(name: str, sensitive: bool) -> None:
    assert looks_sensitive(name) == sensitive


def test_values_come_from_the_nearest_origin(tmp_path: Path) -> None:
    """--env must win over --env-file, --env-file over .env, .env over examples; origins must name no value."""
    (tmp_path / ".env").write_text("A=dotenv\nB=dotenv\nC=dotenv\n")
    (tmp_path / "more").write_text("A=file\nB=file\n")
    examples = {"C": "example", "D": "example", "E": ""}
    given = given_values(tmp_path, ["A=option"], [tmp_path / "more"], examples)
    assert given.values == {"A": "option", "B": "file", "C": "dotenv", "D": "example"}
    assert str(given).startswith("--env: A; --env-file ")
    assert "dotenv" not in str(given).replace(".env", ""), given


def test_a_declared_space_is_not_given_a_developers_keys(tmp_path: Path) -> None:
    """With values made from decorators, `.env` must stay unread."""
    (tmp_path / ".env").write_text("API_KEY=a-real-one\n")
    assert given_values(tmp_path, [], [], None).values == {}


@pytest.mark.parametrize("text", ["NAME", "=x", "1A=x", "a-b=secret"])
def test_an_invalid_option_must_be_refused_without_its_value(text: str, tmp_path: Path) -> None:
    with pytest.raises(GivenError, match="write --env NAME=VALUE") as error:
        given_values(tmp_path, [text], [], {})
    assert "secret" not in str(error.value)
