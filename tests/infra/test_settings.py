"""Deploy-time settings: what the context may hold, and the sentence that answers what it may not."""

import json
import re
from typing import Any, get_args, get_type_hints

import pytest
from msgspec import Meta

from infra import settings as settings_module
from infra.context import SettingsError
from infra.settings import INTERPRETER, NAMES, PYTHON_VERSIONS, Settings, former_names

from .conftest import ROOT

EMPTY: list[Any] = [None, False, 0, [], {}]
PROVIDER_ENDPOINTS = (
    "a JSON object of providers and loopback URLs, without user and password, such as "
    '{"openai": "http://127.0.0.1:8000/openai/v1"}'
)
ORIGINS = (
    "* or origins such as https://example.com, separated by commas, as browsers send them: in lower case, without :443"
)
JWT_ISSUER = "an https URL such as https://cognito-idp.us-east-1.amazonaws.com/us-east-1_AbCdEfGhI"
PROD = {"stage": "prod", "pythonVersion": "3.13"}


def test_defaults() -> None:
    settings = Settings.from_context({})
    assert (settings.stage, settings.target, settings.removal_policy) == ("dev", "aws", "destroy")
    assert (settings.global_limit, settings.ip_limit, settings.max_concurrency) == (100, 50, 40)
    assert (settings.enhance_limit, settings.enhance_ip_limit) == (100, 50)
    assert (settings.upload_limit, settings.upload_ip_limit) == (200, 100)
    assert (settings.limit_store, settings.has_ledger) == ("s3", False)
    assert (settings.daily_spend_alarm, settings.has_budget, settings.has_charges) == (0, False, False)
    assert (settings.daily_budget, settings.monthly_budget, settings.unknown_price_ceiling) == (0, 0, 0)
    assert settings.trust_body_ip is False
    assert settings.provider_endpoints == {}


@pytest.mark.parametrize(
    ("name", "given", "field", "expected"),
    [
        ("ipLimit", "10", "ip_limit", 10),
        ("ipLimit", 0, "ip_limit", 0),
        ("globalLimit", "1000000", "global_limit", 1_000_000),
        ("enhanceLimit", "10", "enhance_limit", 10),
        ("enhanceIpLimit", 0, "enhance_ip_limit", 0),
        ("uploadLimit", "10", "upload_limit", 10),
        ("uploadIpLimit", 0, "upload_ip_limit", 0),
        ("limitStore", "dynamodb", "limit_store", "dynamodb"),
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
        ("maxConcurrency", "9", "max_concurrency", 9),
        ("promptModelIndex", 2, "prompt_model_index", "2"),
        ("throttleRate", "5", "throttle_rate", 5),
        ("removalPolicy", "retain", "removal_policy", "retain"),
        ("removal", "retain", "removal_policy", "retain"),
        ("reservedConcurrency", "20", "reserved_concurrency", 20),
        ("cloudfront", "false", "cloudfront", False),
        ("apiAuth", "iam", "api_auth", "iam"),
        ("apiAuth", "keys", "api_auth", "keys"),
        ("allowPublic", "true", "allow_public", True),
        ("gallery", "off", "gallery", "off"),
        ("gallery", "public", "gallery", "public"),
        ("statusWait", "20", "status_wait", 20),
        ("keyHosts", '{"A_KEY": ["A.example", "[::1]:80"]}', "key_hosts", {"A_KEY": ["a.example", "[::1]:80"]}),
        ("keyHosts", {"A_KEY": ["a.example"]}, "key_hosts", {"A_KEY": ["a.example"]}),
        ("alarmEmail", "owner@example.com", "alarm_email", "owner@example.com"),
        ("alarmEmail", "", "alarm_email", ""),
        ("dailySpendAlarm", "12.5", "daily_spend_alarm", 12.5),
        ("dailySpendAlarm", 10, "daily_spend_alarm", 10),
        ("dailySpendAlarm", ".5", "daily_spend_alarm", 0.5),
        ("dailyBudget", "12.5", "daily_budget", 12.5),
        ("monthlyBudget", 100, "monthly_budget", 100),
        ("ipLimit", "05", "ip_limit", 5),
        ("pythonVersion", "3.14", "python_version", "3.14"),
        ("pythonVersion", 3.11, "python_version", "3.11"),
    ],
)  # fmt: skip
def test_value_is_read(name: str, given: Any, field: str, expected: Any) -> None:
    assert getattr(Settings.from_context({name: given}), field) == expected


@pytest.mark.parametrize(
    ("name", "given", "allowed"),
    [
        ("stage", "test", "one of dev, prod"),
        ("stage", "Dev", "one of dev, prod"),
        ("target", "azure", "one of aws, local"),
        ("globalLimit", "-1", "a whole number from 0 to 1000000"),
        ("ipLimit", "ten", "a whole number from 0 to 1000000"),
        ("enhanceLimit", "ten", "a whole number from 0 to 1000000"),
        ("enhanceIpLimit", -1, "a whole number from 0 to 1000000"),
        ("uploadLimit", "ten", "a whole number from 0 to 1000000"),
        ("uploadIpLimit", 1_000_001, "a whole number from 0 to 1000000"),
        ("ipLimit", 1.5, "a whole number from 0 to 1000000"),
        ("ipLimit", True, "a whole number from 0 to 1000000"),
        ("ipLimit", None, "a whole number from 0 to 1000000"),
        (
            "ipInclude",
            "192.0.2.256",
            "IP addresses and networks such as 192.0.2.7,198.51.100.0/24, separated by commas",
        ),
        ("ipInclude", 7, "IP addresses and networks such as 192.0.2.7,198.51.100.0/24, separated by commas"),
        ("trustBodyIp", "yes", "true or false"),
        ("trustBodyIp", 1, "true or false"),
        ("retentionDays", 0, "a whole number from 1 to 3650"),
        ("retentionDays", "3651", "a whole number from 1 to 3650"),
        ("logLevel", "LOUD", "one of DEBUG, INFO, WARNING, ERROR, CRITICAL"),
        ("corsOrigins", "example.com", ORIGINS),
        ("corsOrigins", "https://Example.com", ORIGINS),
        ("corsOrigins", "https://example.com:443", ORIGINS),
        ("corsOrigins", "https://example.com, http://example.com:80", ORIGINS),
        ("corsOrigins", "https://:::", ORIGINS),
        ("corsOrigins", "https://example.com:99999", ORIGINS),
        ("corsOrigins", "https://example.com/path", ORIGINS),
        ("maxConcurrency", 41, "a whole number from 1 to 40"),
        ("maxConcurrency", 0, "a whole number from 1 to 40"),
        ("promptModelIndex", True, "the place (from 1), name or id of a text model of the catalogue"),
        ("moderation", "none", "one of keyword, model, openai"),
        ("throttleRate", 0, "a whole number from 1 to 10000"),
        ("throttleBurst", 5001, "a whole number from 1 to 5000"),
        ("removalPolicy", "keep", "one of retain, destroy"),
        ("reservedConcurrency", "-1", "a whole number from 0 to 1000"),
        ("apiAuth", "basic", "one of none, keys, iam, jwt"),
        ("jwtIssuer", "http://example.com", JWT_ISSUER),
        ("jwtIssuer", 5, JWT_ISSUER),
        ("jwtAudience", True, "the audience of the tokens, such as the client id that they are issued to"),
        ("allowPublic", "yes", "true or false"),
        ("gallery", "private", "one of public, owner, off"),
        ("gallery", False, "one of public, owner, off"),
        ("publicImages", "yes", "true or false"),
        ("confirmAbove", "1.1", "a number from 0 to 1"),
        ("confirmAbove", -0.1, "a number from 0 to 1"),
        ("limitStore", "redis", "one of s3, dynamodb"),
        ("cloudfront", "on", "true or false"),
        ("statusWait", 21, "a whole number from 0 to 20"),
        ("alarmEmail", "owner", "an email address, or empty"),
        *[("alarmEmail", empty, "an email address, or empty") for empty in EMPTY],
        *[("jwtIssuer", empty, JWT_ISSUER) for empty in EMPTY],
        *[("providerEndpoints", empty, PROVIDER_ENDPOINTS) for empty in [*EMPTY[:-1], "[]"]],
        ("dailySpendAlarm", "-1", "US dollars from 0 to 1000000"),
        ("monthlyBudget", "1e7", "US dollars from 0 to 1000000"),
        ("unknownPriceCeiling", "much", "US dollars from 0 to 1000000"),
        ("dailyBudget", "-1", "US dollars from 0 to 1000000"),
        ("dailyBudget", True, "US dollars from 0 to 1000000"),
        ("promptModelIndex", float("inf"), "the place (from 1), name or id of a text model of the catalogue"),
        ("dailyBudget", "nan", "US dollars from 0 to 1000000"),
        ("pythonVersion", "3.10", "one of 3.11, 3.12, 3.13, 3.14"),
        ("pythonVersion", "3.13.1", "one of 3.11, 3.12, 3.13, 3.14"),
    ],
)
def test_wrong_value_is_one_sentence(name: str, given: Any, allowed: str) -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.from_context({name: given})
    message = str(raised.value)
    assert message == f"{name} is {json.dumps(given)}; it must be {allowed}."


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"stages": {"x_y": {}}},
            'stages has "x_y"; the name of a stage must be at most 16 lower-case letters, digits',
        ),
        ({"stages": {"demo": {"ipLimits": 5}}}, "Unknown setting ipLimits (5); did you mean ipLimit?"),
        ({"stages": {"dev": {"stage": "prod"}}}, "stages.dev has a stage; remove it, its name is dev."),
        ({"stage": "prod"}, 'apiAuth is "none"; in the stage prod it must be keys, iam or jwt, unless allowPublic'),
        ({"apiAuth": "jwt", "jwtAudience": "a"}, 'jwtIssuer is ""; it is needed with apiAuth=jwt, and only there.'),
        ({"apiAuth": "jwt", "jwtIssuer": "https://a.example"}, 'jwtAudience is ""; it is needed with apiAuth=jwt'),
        ({"jwtAudience": "a"}, 'jwtAudience is "a"; it is needed with apiAuth=jwt, and only there.'),
        (
            {"stage": "prod", "apiAuth": "iam"},
            'pythonVersion is ""; in the stage prod it must be set, to one of 3.11, 3.12, 3.13, 3.14.',
        ),
        ({"target": "local", "cloudfront": "true"}, "cloudfront is true; with target=local it must be false."),
        (
            {"limitStore": "dynamodb", "globalLimit": 5001},
            "globalLimit is 5001; with limitStore=dynamodb it must be at most 5000: one item holds its window.",
        ),
        ({"limitStore": "dynamodb", "uploadIpLimit": 9999}, "uploadIpLimit is 9999; with limitStore=dynamodb"),
        (
            {"dailyBudget": 5, "globalLimit": 5001},
            "globalLimit is 5001; with limitStore=dynamodb, which a budget needs, it must be at most 5000",
        ),
        (
            {"dailyBudget": 5, "limitStore": "s3"},
            'limitStore is "s3"; with dailyBudget or monthlyBudget it must be dynamodb, where budgets are kept.',
        ),
        ({"monthlyBudget": "0.5", "limitStore": "s3"}, 'limitStore is "s3"; with dailyBudget or monthlyBudget'),
        (
            {"unknownPriceCeiling": 0.2},
            "unknownPriceCeiling is 0.2; it is needed only with dailyBudget, monthlyBudget, or apiAuth=keys.",
        ),
        (
            {"confirmAbove": 0.5},
            "confirmAbove is 0.5; it is needed only with dailyBudget, monthlyBudget, or apiAuth=keys.",
        ),
        ({"apiAuth": "iam", "confirmAbove": "1"}, "confirmAbove is 1.0; it is needed only with dailyBudget"),
        ({"target": "local", "apiAuth": "iam"}, 'apiAuth is "iam"; with target=local it must be none or keys.'),
        (
            {"apiAuth": "keys", "limitStore": "s3"},
            'limitStore is "s3"; with apiAuth=keys it must be dynamodb, where the keys are kept.',
        ),
        (
            {"apiAuth": "keys", "globalLimit": 5001},
            "globalLimit is 5001; with limitStore=dynamodb, which apiAuth=keys needs, it must be at most 5000",
        ),
        (
            {"gallery": "owner"},
            'gallery is "owner"; it needs apiAuth keys, iam or jwt: without authentication, nobody owns a job.',
        ),
        ({"publicImages": True}, "publicImages is true; with apiAuth=none, images are public anyway; remove it."),
        ({"apiAuth": "iam", "publicImages": True, "cloudfront": False}, "publicImages is true; it needs cloudfront."),
        ({"apiAuth": "keys", "publicImages": True, "target": "local"}, "publicImages is true; it needs cloudfront."),
    ],
    ids=str,
)
def test_values_that_do_not_go_together(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.from_context(given)
    assert str(raised.value).startswith(sentence)


def test_the_largest_limits_of_a_ledger() -> None:
    limits = {f"{kind}Limit": 5000 for kind in ("global", "ip", "enhance", "enhanceIp", "upload", "uploadIp")}
    assert Settings.from_context({"limitStore": "dynamodb", **limits}).global_limit == 5000


@pytest.mark.parametrize(
    "given",
    [
        {"dailyBudget": "10"},
        {"monthlyBudget": 0.5},
        {"dailyBudget": 10, "monthlyBudget": 5, "unknownPriceCeiling": "0.2"},
        {"stages": {"dev": {"dailyBudget": 10}}},
        {"target": "local", "dailyBudget": 10},
    ],
    ids=str,
)
def test_a_budget_is_kept_in_dynamodb_by_default(given: dict[str, Any]) -> None:
    settings = Settings.from_context(given)
    assert (settings.has_budget, settings.limit_store, settings.has_ledger) == (True, "dynamodb", True)
    assert "limitStore" not in settings.chosen
    assert Settings.from_context({"limitStore": "dynamodb", **given}) == settings


@pytest.mark.parametrize("given", [{}, {"target": "local"}, {**PROD}, {"unknownPriceCeiling": 0.2}], ids=str)
def test_keys_are_kept_in_dynamodb_by_default_and_may_have_budgets(given: dict[str, Any]) -> None:
    settings = Settings.from_context({"apiAuth": "keys", **given})
    assert (settings.limit_store, settings.has_ledger) == ("dynamodb", True)
    assert (settings.has_charges, settings.has_budget) == (True, False)


@pytest.mark.parametrize(
    ("given", "page", "images"),
    [
        ({}, True, True),
        ({"cloudfront": False}, False, False),
        ({"target": "local"}, False, False),
        ({"apiAuth": "keys"}, True, False),
        ({"apiAuth": "keys", "publicImages": True}, True, True),
        ({"apiAuth": "keys", "cloudfront": False}, False, False),
        ({"apiAuth": "iam"}, False, False),
        ({"apiAuth": "iam", "publicImages": True}, False, True),
    ],
    ids=str,
)
def test_what_cloudfront_serves(given: dict[str, Any], page: bool, images: bool) -> None:
    settings = Settings.from_context(given)
    assert (settings.serves_page, settings.has_public_images) == (page, images)


def test_a_budget_of_0_is_none() -> None:
    settings = Settings.from_context({"dailyBudget": 0, "monthlyBudget": "0", "limitStore": "s3"})
    assert (settings.has_budget, settings.has_ledger) == (False, False)


def test_the_name_of_the_limit_no_longer_sets_the_alarm() -> None:
    assert Settings.from_context({"dailyBudget": 5}).daily_spend_alarm == 0


@pytest.mark.parametrize(
    "given",
    [
        {"stage": "prod", "allowPublic": "true"},
        {"stage": "prod", "apiAuth": "iam"},
        {"stage": "prod", "apiAuth": "keys"},
        {"stage": "prod", "apiAuth": "jwt", "jwtIssuer": "https://issuer.example/x", "jwtAudience": "client"},
    ],
    ids=str,
)
def test_prod_is_public_only_on_purpose(given: dict[str, Any]) -> None:
    assert Settings.from_context({"pythonVersion": "3.13", **given}).stage == "prod"


@pytest.mark.skipif(INTERPRETER not in PYTHON_VERSIONS, reason=f"Lambda has no Python {INTERPRETER}")
def test_every_stage_but_prod_runs_on_the_python_that_synthesizes() -> None:
    assert Settings.from_context({}).python_version == INTERPRETER
    assert Settings.from_context({"stages": {"demo": {}}, "stage": "demo"}).python_version == INTERPRETER
    assert "pythonVersion" not in Settings.from_context({}).chosen


@pytest.mark.parametrize("interpreter", ["3.15", "3.10"])
def test_for_a_python_that_lambda_lacks_the_newest_that_it_has_is_the_default(
    interpreter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings_module, "INTERPRETER", interpreter)
    for given in ({}, {"target": "local"}, {"stages": {"demo": {}}, "stage": "demo"}):
        settings = Settings.from_context(given)
        assert settings.python_version == PYTHON_VERSIONS[-1]
        assert "pythonVersion" not in settings.chosen
    assert Settings().python_version == PYTHON_VERSIONS[-1]
    assert Settings.from_context({"pythonVersion": "3.12"}).python_version == "3.12"


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ({}, {}),
        ({"removalPolicy": "destroy", "ipLimit": 50}, {}),
        ({"removalPolicy": "retain", "ipLimit": 5}, {"removalPolicy": "retain", "ipLimit": 5}),
        (
            {**PROD, "apiAuth": "iam", "gallery": "off"},
            {"pythonVersion": "3.13", "apiAuth": "iam", "gallery": "off"},
        ),
        ({**PROD, "apiAuth": "iam", "gallery": "owner"}, {"pythonVersion": "3.13", "apiAuth": "iam"}),
        ({**PROD, "allowPublic": True, "gallery": "off"}, {"pythonVersion": "3.13", "allowPublic": True}),
        ({"apiAuth": "keys", "limitStore": "dynamodb", "confirmAbove": 0.25}, {"apiAuth": "keys"}),
        (
            {"apiAuth": "keys", "gallery": "public", "publicImages": True, "confirmAbove": 1},
            {"apiAuth": "keys", "gallery": "public", "publicImages": True, "confirmAbove": 1},
        ),
        (
            {**PROD, "apiAuth": "iam", "gallery": "public"},
            {"pythonVersion": "3.13", "apiAuth": "iam", "gallery": "public"},
        ),
        ({"stages": {"demo": {}}, "stage": "demo", "gallery": "off"}, {"gallery": "off"}),
        ({"target": "local"}, {"target": "local"}),
        ({"target": "local", "statusWait": 0}, {"target": "local", "statusWait": 0}),
    ],
    ids=str,
)
def test_what_differs_from_the_defaults_of_its_stage_is_chosen(given: dict[str, Any], chosen: dict[str, Any]) -> None:
    assert Settings.from_context(given).chosen == chosen


def test_what_a_laptop_has_by_default() -> None:
    local, aws = Settings.from_context({"target": "local"}), Settings.from_context({})
    assert (local.cloudfront, local.status_wait) == (False, 20)
    assert (aws.cloudfront, aws.status_wait) == (True, 0)


def test_the_reference_has_one_table_of_all_settings() -> None:
    text = (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"\| Setting \| Laptop \| Default \| Description \|\n\|[ |-]+\|\n((?:\|.*\n)+)", text)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert all(len(row) == 4 for row in rows)
    names = [name for row in rows for name in re.findall(r"`(\w+)`", row[0])]
    assert names == [name for name in NAMES if name not in ("providerEndpoints", "apiUrl")]
    for row in rows:
        defaults = [_written(getattr(Settings(), _field(name))) for name in re.findall(r"`(\w+)`", row[0])]
        given = row[2].split(" (")[0].replace("`", "")
        decided_by_stage = ("`removalPolicy`", "`gallery`", "`pythonVersion`")
        assert row[0] in decided_by_stage or given == ", ".join(filter(None, defaults)), row


def _written(default: Any) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def _field(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), name)


def test_wrong_log_retention_names_the_periods() -> None:
    with pytest.raises(SettingsError, match=r'^logRetentionDays is "31"; it must be one of 1, 3, .*, 30, .*, 3653\.$'):
        Settings.from_context({"logRetentionDays": "31"})


def test_unknown_name_suggests_the_near_one() -> None:
    with pytest.raises(SettingsError, match=r"^Unknown setting .*; did you mean ipLimit\?"):
        Settings.from_context({"ipLimits": 10})
    with pytest.raises(SettingsError, match=r"^Unknown setting .*; available: stage, target, globalLimit"):
        Settings.from_context({"zzz": "red"})


def test_unknown_name_in_a_stage() -> None:
    with pytest.raises(SettingsError, match="did you mean retentionDays"):
        Settings.from_context({"stages": {"dev": {"retentionDay": 3}}})


def test_context_of_the_cdk_is_no_setting() -> None:
    context = {"@aws-cdk/core:checkSecretUsage": True, "aws:cdk:bundling-stacks": [], "acknowledged-issue-numbers": [1]}
    assert Settings.from_context(context) == Settings.from_context({})


def test_single_value_overrides_the_stage_and_the_stage_the_default() -> None:
    stages = {"dev": {"ipLimit": 5}, "prod": {"ipLimit": 7, "globalLimit": 70}}
    single = {"globalLimit": "700", "allowPublic": True, "pythonVersion": "3.13"}
    prod = Settings.from_context({"stages": stages, "stage": "prod", **single})
    assert (prod.stage, prod.ip_limit, prod.global_limit) == ("prod", 7, 700)
    assert Settings.from_context({"stages": stages}).ip_limit == 5


def test_every_stage_of_cdk_json_is_valid(context: dict[str, Any]) -> None:
    removals = {stage: Settings.from_context({**context, "stage": stage}).removal_policy for stage in context["stages"]}
    assert removals == {"dev": "destroy", "prod": "retain"}


@pytest.mark.parametrize(
    ("given", "gallery"),
    [
        ({}, "public"),
        ({"target": "local"}, "public"),
        ({"stage": "demo", "stages": {"demo": {}}}, "public"),
        ({**PROD, "apiAuth": "iam"}, "owner"),
        ({**PROD, "apiAuth": "keys"}, "owner"),
        ({"apiAuth": "keys"}, "owner"),
        ({"target": "local", "apiAuth": "keys"}, "owner"),
        ({"apiAuth": "keys", "gallery": "off"}, "off"),
        ({**PROD, "allowPublic": "true"}, "off"),
        ({**PROD, "apiAuth": "iam", "gallery": "public"}, "public"),
        ({**PROD, "stages": {"prod": {"apiAuth": "iam", "gallery": "public"}}}, "public"),
        ({"gallery": "off"}, "off"),
    ],
    ids=str,
)
def test_who_sees_galleries_by_default(given: dict[str, Any], gallery: str) -> None:
    settings = Settings.from_context(given)
    assert (settings.gallery, settings.has_gallery) == (gallery, gallery != "off")


def test_data_of_any_stage_but_dev_is_retained_by_default() -> None:
    assert Settings.from_context({"stages": {"demo": {}}, "stage": "demo"}).removal_policy == "retain"


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


def test_a_former_name_is_accepted_with_a_warning() -> None:
    context = {"stages": {"demo": {"removal": "destroy"}}, "stage": "demo"}
    assert Settings.from_context(context).removal_policy == "destroy"
    assert former_names(context) == ["The setting removal is now removalPolicy; rename it before 3.0.0."]
    assert former_names({"removalPolicy": "retain", "stages": {"dev": {}}}) == []


@pytest.mark.parametrize("stages", [False, True], ids=["above", "in a stage"])
def test_a_setting_under_both_names_is_refused(*, stages: bool) -> None:
    both = {"removalPolicy": "retain", "removal": "destroy"}
    with pytest.raises(SettingsError, match="removal is the former name of removalPolicy, and both are set"):
        Settings.from_context({"stages": {"demo": both}} if stages else both)


def test_every_setting_is_described() -> None:
    for name, hint in get_type_hints(Settings, include_extras=True).items():
        (about,) = [entry.description for entry in get_args(hint) if isinstance(entry, Meta)]
        assert about and about.endswith("."), name
