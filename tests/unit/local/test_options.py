"""What the caller's environment asks of a cloud on a laptop."""

import pytest

from infra.settings import Settings
from local.options import SETTINGS, OptionError, Options
from pixelprompt.models.provider import PROVIDERS

SIMULATOR = "http://127.0.0.1:4321"
API = "http://127.0.0.1:4322/_aws/execute-api/pixel-prompt"
KEYS = sorted(provider.key_name for provider in PROVIDERS.values() if provider.key_name)


def test_every_setting_reaches_the_stack() -> None:
    given = {
        "IP_LIMIT": "10",
        "GLOBAL_LIMIT": "20",
        "ENHANCE_LIMIT": "30",
        "ENHANCE_IP_LIMIT": "15",
        "UPLOAD_LIMIT": "40",
        "UPLOAD_IP_LIMIT": "25",
        "LIMIT_STORE": "dynamodb",
        "DAILY_BUDGET": "10",
        "MONTHLY_BUDGET": "99.5",
        "UNKNOWN_PRICE_CEILING": "0.25",
        "CONFIRM_ABOVE": "0.5",
        "IP_INCLUDE": "192.0.2.0/24",
        "TRUST_BODY_IP": "false",
        "RETENTION_DAYS": "3",
        "LOG_LEVEL": "DEBUG",
        "CORS_ORIGINS": "https://example.com",
        "PROMPT_MODEL_INDEX": "2",
        "MAX_CONCURRENCY": "4",
        "MODERATION": "keyword",
        "STATUS_WAIT": "7",
        "GALLERY": "off",
        "API_AUTH": "keys",
        "KEY_HOSTS": '{"MY_KEY": ["My.Example"]}',
    }
    assert set(given) == set(SETTINGS)
    settings = Settings.from_context(Options.from_environment(given).context(SIMULATOR, API))
    assert (settings.target, settings.api_url) == ("local", API)
    assert (settings.ip_limit, settings.global_limit, settings.ip_include) == (10, 20, "192.0.2.0/24")
    assert (settings.enhance_limit, settings.enhance_ip_limit) == (30, 15)
    assert (settings.upload_limit, settings.upload_ip_limit, settings.limit_store) == (40, 25, "dynamodb")
    assert (settings.daily_budget, settings.monthly_budget, settings.unknown_price_ceiling) == (10, 99.5, 0.25)
    assert settings.confirm_above == 0.5
    assert (settings.trust_body_ip, settings.retention_days, settings.log_level) == (False, 3, "DEBUG")
    assert (settings.cors_origins, settings.prompt_model_index) == ("https://example.com", "2")
    assert (settings.max_concurrency, settings.moderation) == (4, "keyword")
    assert (settings.status_wait, settings.gallery, settings.api_auth) == (7, "off", "keys")
    assert settings.key_hosts == {"MY_KEY": ["my.example"]}


def test_an_empty_variable_and_a_foreign_one_ask_for_nothing() -> None:
    options = Options.from_environment({"IP_LIMIT": " ", "HOME": "/root", "OPENAI_API_KEY": ""})
    assert options == Options()


def test_without_keys_every_provider_is_simulated() -> None:
    options = Options()
    endpoints = options.context(SIMULATOR, API)["providerEndpoints"]
    assert set(options.simulated()) == set(endpoints)
    assert {"openai", "gemini"} <= set(endpoints)
    assert endpoints["openai"] == f"{SIMULATOR}/openai/v1"
    assert endpoints["gemini"] == f"{SIMULATOR}/gemini"
    assert set(options.secret().values()) == {"simulated"}


@pytest.mark.parametrize("name", KEYS)
def test_a_real_key_goes_to_the_real_provider_and_nowhere_else(name: str) -> None:
    options = Options.from_environment({name: "real-and-secret"})
    (provider,) = [provider for provider, entry in PROVIDERS.items() if entry.key_name == name]
    context = options.context(SIMULATOR, API)
    assert provider not in options.simulated()
    assert provider not in context["providerEndpoints"]
    assert options.secret()[name] == "real-and-secret"
    assert "real-and-secret" not in repr(options) + repr(context) + repr(options.simulator_arguments())


def test_the_way_to_the_network_is_open_only_for_a_real_provider() -> None:
    network = {"HTTPS_PROXY": "http://127.0.0.1:3128", "SSL_CERT_FILE": "/certificates.pem", "no_proxy": "example.com"}
    assert Options.from_environment(network).network_environment() == {}
    opened = Options.from_environment({**network, "OPENAI_API_KEY": "k"}).network_environment()
    assert opened["HTTPS_PROXY"] == network["HTTPS_PROXY"]
    assert opened["SSL_CERT_FILE"] == network["SSL_CERT_FILE"]
    assert opened["NO_PROXY"] == opened["no_proxy"] == "example.com,127.0.0.1,localhost"


@pytest.mark.parametrize(
    ("latency", "arguments"),
    [
        ("0.5-4", ["--latency-min", "0.5", "--latency-max", "4"]),
        ("2", ["--latency-min", "2", "--latency-max", "2"]),
        ("", []),
    ],
)
def test_latency(latency: str, arguments: list[str]) -> None:
    assert Options(latency=latency).simulator_arguments() == ["--faults", "", *arguments]


@pytest.mark.parametrize("latency", ["fast", "1-", "-1", "1-2-3", "1 s", "5-0.5"])
def test_a_wrong_latency_is_named(latency: str) -> None:
    with pytest.raises(OptionError, match="SIMULATOR_LATENCY"):
        Options(latency=latency)


def test_a_wrong_fault_and_an_unknown_setting_are_named() -> None:
    with pytest.raises(OptionError, match=r"SIMULATOR_FAULTS.*nonsense"):
        Options(faults="gpt-image-2=nonsense")
    with pytest.raises(OptionError, match="IP_LIMITS"):
        Options({"IP_LIMITS": "3"})


@pytest.mark.parametrize(("given", "enforced"), [("", False), ("0", False), ("1", True)])
def test_iam_is_enforced_for_who_asks(given: str, enforced: bool) -> None:
    assert Options.from_environment({"ENFORCE_IAM": given}).enforce_iam is enforced


def test_a_wrong_switch_is_named() -> None:
    with pytest.raises(OptionError, match="ENFORCE_IAM is 'maybe'; it accepts 0 or 1"):
        Options.from_environment({"ENFORCE_IAM": "maybe"})


def test_options_of_a_running_cloud_hold_where_nothing_else_is_said() -> None:
    running = Options({"IP_LIMIT": "5", "LOG_LEVEL": "DEBUG"}, {"OPENAI_API_KEY": "k"}, latency="1", enforce_iam=True)
    chosen = Options({"IP_LIMIT": "7"}).over(running)
    assert chosen.settings == {"IP_LIMIT": "7", "LOG_LEVEL": "DEBUG"}
    assert chosen.keys == {}
    assert chosen.latency == "1"
    assert chosen.enforce_iam


def test_what_differs_from_a_running_cloud_goes_by_its_variables() -> None:
    running = Options({"IP_LIMIT": "10"}, latency="2").remembered()
    assert Options({"IP_LIMIT": "10"}, latency="2").differences(running) == []
    assert Options({"IP_LIMIT": "9"}, latency="2", enforce_iam=True).differences(running) == ["IP_LIMIT", "ENFORCE_IAM"]
    assert Options().differences(running) == ["IP_LIMIT", "SIMULATOR_LATENCY"]
    assert Options().differences({}) == []


def test_the_keys_of_servers_of_ones_own_are_in_the_environment_too() -> None:
    chosen = Options.from_environment({"KEY_HOSTS": '{"MY_KEY": ["my.example"]}', "MY_KEY": "k", "OTHER_KEY": "o"})
    assert chosen.keys == {"MY_KEY": "k"}
    assert "compatible" not in chosen.simulated() and "openai" in chosen.simulated()
    assert chosen.secret()["MY_KEY"] == "k"
    assert Options.from_environment({"KEY_HOSTS": "[", "MY_KEY": "k"}).keys == {}


def test_only_what_cors_origins_names_may_call_beside_the_clouds_own_page() -> None:
    assert Options().origins() == []
    assert Options({"CORS_ORIGINS": " https://a.example ,http://localhost:3000,"}).origins() == [
        "https://a.example",
        "http://localhost:3000",
    ]


def test_a_real_provider_more_or_less_is_a_difference_but_no_key_is_remembered() -> None:
    running = Options(keys={"OPENAI_API_KEY": "sk-real"}).remembered()
    assert "sk-real" not in str(running)
    assert Options().differences(running) == ["OPENAI_API_KEY"]
    assert Options(keys={"OPENAI_API_KEY": "sk-another"}).differences(running) == []
    assert Options.recalled(running).keys == {}
