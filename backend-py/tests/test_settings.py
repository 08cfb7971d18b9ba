"""The start must check the environment and report all faults at once, by name, without values."""

import re
from pathlib import Path

import pytest

from app.settings import SAMPLES, Settings, SettingsError, environment, read_settings

MARKER = "marker-that-must-not-appear"
CLOUD = {
    "COHERE_API_KEY": MARKER,
    "QDRANT_URL": "https://xyz.example:6333",
    "QDRANT_API_KEY": MARKER,
}
DECLARED = (Path(__file__).parent.parent / ".env.example").read_text()


def faults(environ: dict[str, str], index_path: Path) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        read_settings({"INDEX_PATH": str(index_path), **environ})
    lines = caught.value.faults
    assert MARKER not in "\n".join(lines)
    return dict(line.split(": ", 1) for line in lines)


def test_names_every_missing_variable_at_once(index_path: Path) -> None:
    assert set(faults({}, index_path)) == set(CLOUD)


@pytest.mark.parametrize("name", CLOUD)
@pytest.mark.parametrize("value", ["", "  "])
def test_blank_counts_as_missing(name: str, value: str, index_path: Path) -> None:
    assert set(faults({**CLOUD, name: value}, index_path)) == {name}


@pytest.mark.parametrize("url", ["not a url", "ftp://x", "x:6333", "http://x:abc", "http://"])
def test_refuses_an_unusable_url(url: str, index_path: Path) -> None:
    assert set(faults({**CLOUD, "QDRANT_URL": url}, index_path)) == {"QDRANT_URL"}


@pytest.mark.parametrize(
    "entry",
    [
        "*",
        "null",
        "https://*.example",
        "https://book.example/",
        "https://book.example/path",
        "https://book.example:443",
        "https://Book.example",
        "https://user@book.example",
        "http://book.example",
        "ftp://book.example",
        "book.example",
        "https://",
        "https://book.example:x",
        "",
    ],
)
def test_refuses_what_is_not_an_exact_origin_and_names_its_position(
    entry: str, index_path: Path
) -> None:
    found = faults({**CLOUD, "CORS_ORIGINS": f"https://good.example,{entry}"}, index_path)
    assert set(found) == {"CORS_ORIGINS"}
    assert "entry 2" in found["CORS_ORIGINS"]
    assert "entry 1" not in found["CORS_ORIGINS"]


def test_accepts_exact_origins(index_path: Path) -> None:
    origins = "https://book.example, http://localhost:3000,http://127.0.0.1:5173"
    settings = read_settings({**CLOUD, "CORS_ORIGINS": origins, "INDEX_PATH": str(index_path)})
    assert settings.cors_origins == {
        "https://book.example",
        "http://localhost:3000",
        "http://127.0.0.1:5173",
    }


def test_reports_faults_of_all_kinds_together(index_path: Path) -> None:
    environ = {"QDRANT_URL": "nope", "CORS_ORIGINS": "*", "RATE_PER_MINUTE": "many"}
    assert set(faults(environ, index_path)) == {
        "COHERE_API_KEY",
        "QDRANT_API_KEY",
        "QDRANT_URL",
        "CORS_ORIGINS",
        "RATE_PER_MINUTE",
    }


@pytest.mark.parametrize("name", SAMPLES)
def test_refuses_sample_values_on_the_hub_only(name: str, index_path: Path) -> None:
    environ = {**CLOUD, name: SAMPLES[name], "INDEX_PATH": str(index_path)}
    read_settings(environ)
    assert set(faults({**environ, "SYSTEM": "spaces"}, index_path)) == {name}


@pytest.mark.parametrize("path", ["/nowhere", "/", __file__])
def test_embedded_mode_needs_its_index(path: str) -> None:
    assert set(faults({"RAG_MODE": "embedded"}, Path(path))) == {"INDEX_PATH"}


def test_warns_on_the_hub_of_a_port_that_may_be_closed(index_path: Path) -> None:
    environ = {**CLOUD, "INDEX_PATH": str(index_path)}
    assert not read_settings(environ).warnings()
    (warning,) = read_settings({**environ, "SYSTEM": "spaces"}).warnings()
    assert warning.startswith("QDRANT_URL") and "6333" in warning


@pytest.mark.parametrize("port", [80, 443, 8080, 5432])
def test_does_not_warn_on_the_hub_of_an_open_port(port: int, index_path: Path) -> None:
    url = f"https://xyz.example:{port}"
    environ = {**CLOUD, "QDRANT_URL": url, "INDEX_PATH": str(index_path), "SYSTEM": "spaces"}
    assert not read_settings(environ).warnings()


def test_declares_exactly_what_is_read() -> None:
    declared = re.findall(r"^([A-Z_]+)=", DECLARED, re.MULTILINE)
    assert sorted(declared) == sorted(name.upper() for name in Settings.model_fields)


def test_declares_the_defaults_that_are_used() -> None:
    for name, value in re.findall(r"^([A-Z_]+)=(.+)$", DECLARED, re.MULTILINE):
        assert str(Settings.model_fields[name.lower()].default) == value


def test_declares_the_samples_that_are_refused() -> None:
    found = re.findall(r"@sample=(\S+)\n([A-Z_]+)=", DECLARED)
    assert {name: sample for sample, name in found} == SAMPLES


def test_readme_names_every_variable() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    hidden = {"SYSTEM"}
    missing = {n.upper() for n in Settings.model_fields if f"`{n.upper()}`" not in readme} - hidden
    assert not missing


def test_a_dotenv_file_fills_what_the_environment_leaves_open(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    lines = ("RAG_MODE=embedded  # x", "LOG_LEVEL=debug", f"COHERE_API_KEY='{MARKER}$x'", "EMPTY")
    file.write_text("\n".join(lines))
    found = environment({"LOG_LEVEL": "warn", "COLLECTION_NAME": ""}, file)
    assert found == {
        "RAG_MODE": "embedded",
        "LOG_LEVEL": "warn",
        "COHERE_API_KEY": f"{MARKER}$x",
        "COLLECTION_NAME": "",
    }


def test_a_dotenv_file_is_not_read_on_the_hub(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("LOG_LEVEL=debug\n")
    assert environment({"SYSTEM": "spaces"}, file) == {"SYSTEM": "spaces"}


def test_without_a_dotenv_file_the_environment_stands(tmp_path: Path) -> None:
    assert environment({"LOG_LEVEL": "warn"}, tmp_path / ".env") == {"LOG_LEVEL": "warn"}


def test_the_example_as_a_dotenv_file_is_accepted_but_for_the_keys() -> None:
    given = environment({}, Path(__file__).parent.parent / ".env.example")
    with pytest.raises(SettingsError) as caught:
        read_settings(given)
    assert {fault.partition(":")[0] for fault in caught.value.faults} <= {*CLOUD, "INDEX_PATH"}
