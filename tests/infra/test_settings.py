"""Deploy-time settings: what the context may hold, and the sentence that answers what it may not."""

import json
from dataclasses import fields
from typing import Any

import pytest

from infra.settings import Settings, SettingsError


def test_defaults() -> None:
    settings = Settings.from_context({})
    assert (settings.stage, settings.target, settings.removal) == ("dev", "aws", "destroy")
    assert (settings.global_limit, settings.ip_limit, settings.max_concurrency) == (100, 50, 9)
    assert settings.trust_body_ip is False
    assert settings.provider_endpoints == {}


@pytest.mark.parametrize(
    ("name", "given", "field", "expected"),
    [
        ("ipLimit", "10", "ip_limit", 10),
        ("ipLimit", 0, "ip_limit", 0),
        ("globalLimit", "1000000", "global_limit", 1_000_000),
        ("ipInclude", " 192.0.2.7, 2001:db8::/32 ,", "ip_include", "192.0.2.7,2001:db8::/32"),
        ("ipInclude", "", "ip_include", ""),
        ("trustBodyIp", "true", "trust_body_ip", True),
        ("trustBodyIp", True, "trust_body_ip", True),
        ("trustBodyIp", "false", "trust_body_ip", False),
        ("retentionDays", "3650", "retention_days", 3650),
        ("logRetentionDays", "14", "log_retention_days", 14),
        ("logRetentionDays", 731, "log_retention_days", 731),
        ("logLevel", "DEBUG", "log_level", "DEBUG"),
        ("corsOrigins", "https://example.com, http://127.0.0.1:5173", "cors_origins", "https://example.com,http://127.0.0.1:5173"),
        ("maxConcurrency", "40", "max_concurrency", 40),
        ("promptModelIndex", 2, "prompt_model_index", "2"),
        ("throttleRate", "5", "throttle_rate", 5),
        ("removal", "retain", "removal", "retain"),
    ],
)  # fmt: skip
def test_value_is_read(name: str, given: Any, field: str, expected: Any) -> None:
    assert getattr(Settings.from_context({name: given}), field) == expected


@pytest.mark.parametrize(
    ("name", "given", "allowed"),
    [
        ("stage", "test", "dev or prod"),
        ("stage", "Dev", "dev or prod"),
        ("target", "azure", "aws or local"),
        ("globalLimit", "-1", "a whole number from 0 to 1000000"),
        ("ipLimit", "ten", "a whole number from 0 to 1000000"),
        ("ipLimit", 1.5, "a whole number from 0 to 1000000"),
        ("ipLimit", True, "a whole number from 0 to 1000000"),
        ("ipLimit", None, "a whole number from 0 to 1000000"),
        ("ipInclude", "192.0.2.256", "addresses and networks such as 192.0.2.7,198.51.100.0/24, separated by commas"),
        ("ipInclude", 7, "addresses and networks such as 192.0.2.7,198.51.100.0/24, separated by commas"),
        ("trustBodyIp", "yes", "true or false"),
        ("trustBodyIp", 1, "true or false"),
        ("retentionDays", 0, "a whole number from 1 to 3650"),
        ("retentionDays", "3651", "a whole number from 1 to 3650"),
        ("logLevel", "LOUD", "DEBUG, INFO, WARNING, ERROR or CRITICAL"),
        ("corsOrigins", "example.com", "* or origins such as https://example.com, separated by commas"),
        ("corsOrigins", "https://example.com/path", "* or origins such as https://example.com, separated by commas"),
        ("maxConcurrency", 41, "a whole number from 1 to 40"),
        ("maxConcurrency", 0, "a whole number from 1 to 40"),
        ("promptModelIndex", True, "the place (from 1), name or id of a text model of the catalogue"),
        ("moderation", "none", "keyword, model or openai"),
        ("throttleRate", 0, "a whole number from 1 to 10000"),
        ("throttleBurst", 5001, "a whole number from 1 to 5000"),
        ("removal", "keep", "retain or destroy"),
    ],
)
def test_wrong_value_is_one_sentence(name: str, given: Any, allowed: str) -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.from_context({name: given})
    message = str(raised.value)
    assert message == f"{name} is {json.dumps(given)}; it must be {allowed}."


def test_wrong_log_retention_names_the_periods() -> None:
    with pytest.raises(SettingsError, match=r'^logRetentionDays is "31"; it must be 1, 3, .*, 30, .* or 3653\.$'):
        Settings.from_context({"logRetentionDays": "31"})


def test_unknown_name_suggests_the_near_one() -> None:
    with pytest.raises(SettingsError, match=r"no such setting; did you mean ipLimit\?"):
        Settings.from_context({"ipLimits": 10})
    with pytest.raises(SettingsError, match="no such setting; there are stage, target, globalLimit"):
        Settings.from_context({"colour": "red"})


def test_unknown_name_in_a_stage() -> None:
    with pytest.raises(SettingsError, match="did you mean retentionDays"):
        Settings.from_context({"stages": {"dev": {"retentionDay": 3}}})


def test_context_of_the_cdk_is_no_setting() -> None:
    context = {"@aws-cdk/core:checkSecretUsage": True, "aws:cdk:bundling-stacks": [], "acknowledged-issue-numbers": [1]}
    assert Settings.from_context(context) == Settings.from_context({})


def test_single_value_overrides_the_stage_and_the_stage_the_default() -> None:
    stages = {"dev": {"ipLimit": 5}, "prod": {"ipLimit": 7, "globalLimit": 70}}
    prod = Settings.from_context({"stages": stages, "stage": "prod", "globalLimit": "700"})
    assert (prod.stage, prod.ip_limit, prod.global_limit) == ("prod", 7, 700)
    assert Settings.from_context({"stages": stages}).ip_limit == 5


def test_every_stage_of_cdk_json_is_valid(context: dict[str, Any]) -> None:
    removals = {stage: Settings.from_context({**context, "stage": stage}).removal for stage in context["stages"]}
    assert removals == {"dev": "destroy", "prod": "retain"}


def test_data_of_any_stage_but_dev_is_retained_by_default() -> None:
    assert Settings.from_context({"stages": {"demo": {}}, "stage": "demo"}).removal == "retain"


def test_on_the_laptop_the_body_names_the_caller() -> None:
    assert Settings.from_context({"target": "local"}).trust_body_ip is True
    assert Settings.from_context({"target": "local", "trustBodyIp": "false"}).trust_body_ip is False


def test_provider_endpoints() -> None:
    endpoints = {"openai": "http://127.0.0.1:8000/openai/v1"}
    given = '{"openai": "http://127.0.0.1:8000/openai/v1"}'
    assert Settings.from_context({"target": "local", "providerEndpoints": given}).provider_endpoints == endpoints
    assert Settings.from_context({"target": "local", "providerEndpoints": endpoints}).provider_endpoints == endpoints
    with pytest.raises(SettingsError, match="only with target=local"):
        Settings.from_context({"providerEndpoints": endpoints})


@pytest.mark.parametrize("given", ['{"openai": "http://example.com"}', "[1]", "{", '{"openai": "127.0.0.1"}', "5"])
def test_provider_endpoints_are_loopback_urls(given: str) -> None:
    with pytest.raises(SettingsError, match=r"^providerEndpoints is .*; it must be a JSON object of"):
        Settings.from_context({"target": "local", "providerEndpoints": given})


def test_every_field_is_documented_in_one_line() -> None:
    lines = (Settings.__doc__ or "").splitlines()
    for field in fields(Settings):
        assert sum(line.strip().startswith(f"{field.name} : ") for line in lines) == 1, field.name
