"""The assumed behaviour of the Hub: two profiles, single fields, and the Hub's own texts."""

from __future__ import annotations

from dataclasses import fields
from unittest.mock import Mock

import pytest
from huggingface_hub.errors import HfHubHTTPError

from preflight.cli.hub import said
from preflight.model import hub_profile
from preflight.model.hub_profile import DOCUMENTED, OBSERVED, Rehearsal, outbound
from preflight.model.hub_texts import TEXTS, HubText, meaning_of
from preflight.model.problems import Severity


def test_profiles_differ_where_observation_and_documentation_do() -> None:
    """`observed` must have the image's user and all ports; `documented` uid 1000 and three ports."""
    hub = Rehearsal()
    assert (hub.profile, hub.user, hub.lets_out(5432)) == (OBSERVED, "", True)
    hub.override(DOCUMENTED)
    assert (hub.profile, hub.user, hub.lets_out(5432)) == (DOCUMENTED, "1000", False)
    assert hub.lets_out(443)
    hub.override(OBSERVED)
    assert hub.profile == OBSERVED


def test_one_field_changes_and_is_named() -> None:
    """`NAME=VALUE` must set one field, and the profile's name must contain it."""
    hub = Rehearsal()
    hub.override("outbound_ports=80,443")
    assert hub.outbound_ports == (80, 443)
    assert hub.profile == "observed, outbound_ports=(80, 443)"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("guessed", "write observed, documented, or NAME=VALUE"),
        ("colour=red", "with one of user, outbound_ports"),
        ("cpus=many", "cpus: 'many' is not of type int"),
    ],
)
def test_an_invalid_setting_is_refused(given: str, words: str) -> None:
    """An unknown profile or field, or a value of another kind, must be refused with the valid form."""
    with pytest.raises(ValueError, match=words):
        Rehearsal().override(given)


def test_every_field_has_its_source_and_its_sureness() -> None:
    """Each value of the rehearsal must have a source and a confidence."""
    for field in fields(Rehearsal):
        facts = field.metadata["facts"]
        assert facts["about"] and facts["source"] and facts["sure"], field.name


@pytest.mark.parametrize(
    ("port", "severity"),
    [
        (443, None),
        (8080, None),
        (5432, "advice"),
        (6543, "advice"),
        (587, "risk"),
        (6379, "advice"),
    ],
)
def test_connecting_to_a_port_has_the_severity_of_what_is_known(
    port: int, severity: str | None
) -> None:
    """A documented port must not be reported; other ports must be advice, mail ports a risk."""
    known = outbound(port)
    assert (known and known.severity) == (severity and Severity(severity))


def test_connecting_to_a_blocked_port_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connecting to a port that the profile blocks must break the Space."""
    monkeypatch.setattr(hub_profile.HUB, "outbound_ports", hub_profile.DOCUMENTED_PORTS)
    known = outbound(5432)
    assert known and known.severity is Severity.BREAKS


@pytest.mark.parametrize("text", [pytest.param(known, id=known.text[:30]) for known in TEXTS])
def test_each_text_of_the_hub_is_known_by_its_words(text: HubText) -> None:
    """Each text of the Hub must be found by its words, and match no other entry."""
    assert meaning_of(text.text) is text
    assert meaning_of("Build error. Job failed with exit code: 1") is None


def test_an_account_without_a_plan_is_named_as_that() -> None:
    """HTTP 402 must be explained by the account's plan, not printed as a bare number."""
    answer = Mock(status_code=402, text="Payment Required", headers={})
    refused = HfHubHTTPError("402", response=answer)
    assert "a plan is required" in said(refused) and "huggingface.co/pricing" in said(refused)
