"""A missing variable must be named from a log, in the words of many frameworks and languages."""

from __future__ import annotations

import time

import pytest

from preflight.engine.causes import plain
from preflight.engine.diagnosis import alarming_lines
from preflight.rules.missing import missing_in

# A log, the variables that it names as missing, and names that the code reads.
CASES: dict[str, tuple[str, list[str], tuple[str, ...]]] = {
    "decouple": (
        "decouple.UndefinedValueError: SECRET_KEY not found. Declare it as envvar or define a default value.",
        ["SECRET_KEY"],
        (),
    ),
    "pydantic 2": (
        "pydantic_core._pydantic_core.ValidationError: 2 validation errors for Settings\ndatabase_url\n  Field required [type=missing, input_value={}, input_type=dict]\n    For further information visit https://errors.pydantic.dev/2.11/v/missing\napi_key\n  Field required [type=missing, input_value={}, input_type=dict]\n    For further information visit https://errors.pydantic.dev/2.11/v/missing\n",
        ["DATABASE_URL", "API_KEY"],
        (),
    ),
    "pydantic 1 with a prefix": (
        "pydantic.error_wrappers.ValidationError: 1 validation error for Settings\ndatabase_url\n  field required (type=value_error.missing)\n",
        ["APP_DATABASE_URL"],
        ("APP_DATABASE_URL",),
    ),
    "os.environ": (
        '  File "/app/main.py", line 3, in <module>\n    key = os.environ["API_KEY"]\n  File "<frozen os>", line 679, in __getitem__\nKeyError: \'API_KEY\'',
        ["API_KEY"],
        (),
    ),
    "a dict's own key": ("KeyError: 'token'", [], ()),
    "a name that the code reads": ("KeyError: 'token'", ["TOKEN"], ("TOKEN",)),
    "django-environ": (
        "django.core.exceptions.ImproperlyConfigured: Set the SECRET_KEY environment variable",
        ["SECRET_KEY"],
        (),
    ),
    "environs": (
        'environs.exceptions.EnvError: Environment variable "API_KEY" not set',
        ["API_KEY"],
        (),
    ),
    "dynaconf": (
        "dynaconf.validator.ValidationError: API_KEY is required in env main",
        ["API_KEY"],
        (),
    ),
    "starlette": (
        "KeyError: \"Config 'DATABASE_URL' is missing, and has no default.\"",
        ["DATABASE_URL"],
        (),
    ),
    "envalid": (
        '================================\n Missing environment variables:\n    DATABASE_URL: Postgres (eg. "postgres://u@h/db")\n    SESSION_SECRET: undefined\n================================\n\n Exiting with error code 1',
        ["DATABASE_URL", "SESSION_SECRET"],
        (),
    ),
    "zod in JSON": (
        'ZodError: [\n  {\n    "code": "invalid_type",\n    "expected": "string",\n    "received": "undefined",\n    "path": [\n      "DATABASE_URL"\n    ],\n    "message": "Required"\n  },\n  {\n    "expected": "string",\n    "code": "invalid_type",\n    "path": [\n      "API_KEY"\n    ],\n    "message": "Invalid input: expected string, received undefined"\n  }\n]',
        ["DATABASE_URL", "API_KEY"],
        (),
    ),
    "t3-env": (
        "❌ Invalid environment variables: { DATABASE_URL: [ 'Required' ], NODE_KEY: [ 'Required' ] }",
        ["DATABASE_URL", "NODE_KEY"],
        (),
    ),
    "joi": (
        'Error: Config validation error: "DATABASE_URL" is required. "JWT_SECRET" is required',
        ["DATABASE_URL", "JWT_SECRET"],
        (),
    ),
    "env-var": (
        'EnvVarError: env-var: "DATABASE_URL" is a required variable, but it was not set',
        ["DATABASE_URL"],
        (),
    ),
    "dotenv-safe": (
        "MissingEnvVarsError: The following variables were defined in .env.example but are not present in the environment:\n  API_KEY, OTHER_KEY\nMake sure to add them to .env or directly to the environment.",
        ["API_KEY", "OTHER_KEY"],
        (),
    ),
    "prisma": (
        "error: Environment variable not found: DATABASE_URL.\n  -->  schema.prisma:7",
        ["DATABASE_URL"],
        (),
    ),
    "laravel": (
        "[2026-01-01] production.ERROR: No application encryption key has been specified.",
        ["APP_KEY"],
        (),
    ),
    "rails": (
        "ArgumentError: Missing `secret_key_base` for 'production' environment, set this string with `bin/rails credentials:edit`",
        ["SECRET_KEY_BASE"],
        (),
    ),
    "ruby's fetch": (
        'config/database.rb:3:in `fetch\': key not found: "DATABASE_URL" (KeyError)',
        ["DATABASE_URL"],
        (),
    ),
    "figaro": (
        'Figaro::MissingKeys: Missing required configuration keys: ["STRIPE_KEY", "MAIL_KEY"]',
        ["STRIPE_KEY", "MAIL_KEY"],
        (),
    ),
    "rails credentials": (
        "Missing encryption key to decrypt file with. Ask your team for your master key and write it to config/master.key or put it in the ENV['RAILS_MASTER_KEY'].",
        ["RAILS_MASTER_KEY"],
        (),
    ),
    "go envconfig": (
        "2026/01/01 panic: required key DATABASE_URL missing value",
        ["DATABASE_URL"],
        (),
    ),
    "go env": (
        'panic: env: required environment variable "API_TOKEN" is not set',
        ["API_TOKEN"],
        (),
    ),
    "spring": (
        "java.lang.IllegalArgumentException: Could not resolve placeholder 'DATABASE_URL' in value \"${DATABASE_URL}\"",
        ["DATABASE_URL"],
        (),
    ),
    "phoenix": (
        "** (RuntimeError) environment variable DATABASE_URL is missing.\nFor example: ecto://USER:PASS@HOST/DATABASE",
        ["DATABASE_URL"],
        (),
    ),
    "elixir": (
        'could not fetch environment variable "SECRET_KEY_BASE" because it is not set',
        ["SECRET_KEY_BASE"],
        (),
    ),
    "bash set -u": ("/start.sh: line 3: DATABASE_URL: unbound variable", ["DATABASE_URL"], ()),
    "dash set -u": ("sh: 1: API_KEY: parameter not set", ["API_KEY"], ()),
    "an API's client": (
        "openai.OpenAIError: The api_key client option must be set either by passing api_key to the client or by setting the OPENAI_API_KEY environment variable",
        ["OPENAI_API_KEY"],
        (),
    ),
    "is not defined": ("Error: DATABASE_URL is not defined", ["DATABASE_URL"], ()),
    "missing in a message": ("throw new Error('Missing SUPABASE_URL')", ["SUPABASE_URL"], ()),
    "process.env": ("Error: process.env.JWT_SECRET must be set", ["JWT_SECRET"], ()),
    "environment variable is required": (
        "ValueError: MISTRAL_API_KEY environment variable is required",
        ["MISTRAL_API_KEY"],
        (),
    ),
    "a list in a sentence": (
        "FATAL: missing required environment variables: REDIS_URL, S3_BUCKET and S3_KEY",
        ["REDIS_URL", "S3_BUCKET", "S3_KEY"],
        (),
    ),
    "please set": ("RuntimeError: Please set HF_TOKEN", ["HF_TOKEN"], ()),
    "environment variable not set": (
        "panic: BOT_TOKEN environment variable not set",
        ["BOT_TOKEN"],
        (),
    ),
    "postgres image": (
        "Error: You must specify POSTGRES_PASSWORD to a non-empty value",
        ["POSTGRES_PASSWORD"],
        (),
    ),
    "rust": ("thread 'main' panicked: DATABASE_URL must be set: NotPresent", ["DATABASE_URL"], ()),
    "one word in capitals": ("TOKEN is not set", ["TOKEN"], ()),
    "a file": ("ERROR: file not found", [], ()),
    "a missing file": ("ERROR: missing file config.yaml", [], ()),
    "a line of a sound log": ("INFO: Application startup complete.", [], ()),
    "a header": ("HTTP header is required", [], ()),
    "a module": ("ModuleNotFoundError: No module named 'flask'", [], ()),
    "a word in lower case": ("TypeError: name is required", [], ()),
    "must be defined": (
        "AssertionError: Environment variable COHERE_KEY must be defined",
        ["COHERE_KEY"],
        (),
    ),
    "a python argument": ("missing 1 required positional argument: 'request'", [], ()),
    "a parameter": ("Error: Missing required parameter: client_id", ["CLIENT_ID"], ()),
    "cannot be empty": ("Error: STRIPE_SECRET_KEY cannot be empty", ["STRIPE_SECRET_KEY"], ()),
    "one a line": (
        "[settings] DB_HOST: missing\n[settings] DB_PORT: missing",
        ["DB_HOST", "DB_PORT"],
        (),
    ),
    "a list below a heading": (
        "Environment variables missing:\n - MONGO_URI\n - JWT_KEY\n",
        ["MONGO_URI", "JWT_KEY"],
        (),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_log_names_what_is_missing(name: str) -> None:
    """Each variable that the log names must be found, and no other word."""
    log, missing, known = CASES[name]
    assert missing_in(log, known) == missing


def test_terminal_colours_do_not_hide_a_name() -> None:
    """A log with terminal escapes must give the same names as without."""
    log = "\x1b[31mError:\x1b[0m \x1b[1mAPI_KEY\x1b[22m is required"
    assert missing_in(plain(log)) == ["API_KEY"]


@pytest.mark.parametrize(
    "filler", ["x_" * 200, "'" * 400, "[({" * 130, "NAME_X, " * 60, "a " * 200]
)
def test_a_hostile_log_is_read_in_time(filler: str) -> None:
    """Long lines of any kind must not stall the search."""
    log = "\n".join(f"{number} {filler}" for number in range(500))
    began = time.process_time()
    missing_in(log)
    assert time.process_time() - began < 2


def test_a_coloured_warning_must_be_an_alarm() -> None:
    """A level between terminal escapes must count like a plain level."""
    log = "\x1b[1mWARNING\x1b[0m: This is a development server.\nready\n"
    assert alarming_lines(log) == ["WARNING: This is a development server."]
