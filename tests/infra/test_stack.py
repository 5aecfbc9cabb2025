"""What the template holds: permissions, settings, expiry, the failure rule, routes, outputs."""

import fnmatch
import json
import re
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, Stack
from aws_cdk.assertions import Match, Template
from aws_cdk.aws_s3_assets import Asset

from infra import functions
from infra.memory import MEMORY
from infra.packages import CORE, PROVIDERS, REFERENCES
from infra.page import NOT_DEPLOYED
from infra.settings import INTERPRETER, MAX_MODELS, PYTHON_VERSIONS, Settings
from local.checks import grants
from local.checks.grants import Grant, listed
from local.checks.synthesis import built
from pixelprompt.deadline import REQUEST_SECONDS
from pixelprompt.jobs.status import STARTING_SECONDS
from pixelprompt.models.catalogue_entry import MAX_CALL

from ..conftest import LEDGER_SCHEMA
from .conftest import ROOT, Synthesize

# By their places in a job.
TASKS = {"prepare-references", "generate", "record-failure", "finish"}
FUNCTIONS = (
    "submit", "prepare-references", "generate", "record-failure", "finish", "status", "enhance", "upload", "models",
    "cancel", "retry", "gallery",
)  # fmt: skip

# These actions know no narrower resource.
LOGS_DELIVERY = {
    f"logs:{action}"
    for action in (
        "CreateLogDelivery", "DeleteLogDelivery", "DescribeLogGroups", "DescribeResourcePolicies", "GetLogDelivery",
        "ListLogDeliveries", "PutResourcePolicy", "UpdateLogDelivery",
    )
}  # fmt: skip
TRACE = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}


class Resources(grants.Resources):
    """The resources of a template under test."""

    def __init__(self, template: Template) -> None:
        super().__init__(template.to_json())

    def data_bucket(self) -> dict[str, Any]:
        """The bucket of jobs and images."""
        found: dict[str, Any]
        (found,) = (e["Properties"] for i, e in self.by_id.items() if self.names[i] == "bucket")
        return found

    def function(self, name: str) -> dict[str, Any]:
        (found,) = [
            p for p in self.of_type("AWS::Lambda::Function") if p.get("FunctionName") == f"pixel-prompt-dev-{name}"
        ]
        return found


@pytest.fixture(scope="module")
def resources(template: Template) -> Resources:
    return Resources(template)


def _objects(actions: str, *keys: str) -> set[Grant]:
    return {Grant(f"s3:{action}Object", f"bucket/{key}") for action in actions.split() for key in keys}


# What makes S3 answer 404 for a key that does not exist.
LIST = Grant("s3:ListBucket", "bucket")
READ_MODELS = {Grant("secretsmanager:GetSecretValue", "secret"), *_objects("Get", "config/models.json")}
STATUS = "jobs/*/status.json"
CONDITIONAL_KEYS = ("bucket/jobs/*/status.json", "bucket/rate-limit/")
EXECUTIONS = "arn:<AWS::Partition>:states:<AWS::Region>:<AWS::AccountId>:execution:pixel-prompt-dev-generate-images:*"

BUDGET_FUNCTIONS = {"sweep", "usage"}
GALLERY_ROUTES = {"GET /gallery/list", "GET /gallery/{galleryId}"}

GRANTS: dict[str, set[Grant]] = {
    "submit": _objects("Get Put", STATUS, "rate-limit/ratelimit.json", "idempotency/*")
    | _objects("Put", "references/*/given.json")
    | READ_MODELS
    | {Grant("states:StartExecution", "machine")},
    "prepare-references": _objects("Get Put", STATUS, "references/*/?")
    | _objects("Get", "references/*/given.json", "uploads/*", "images/*"),
    "generate": _objects("Get Put", STATUS)
    | _objects("Get", "references/*/?")
    | _objects("Get Put", "jobs/*/resume/*")
    | _objects("Put", "group-images/*", "images/*", "gallery-index/*", "owned-galleries/*")
    | READ_MODELS
    | {Grant("bedrock:InvokeModel", "arn:aws:bedrock:us-west-2::foundation-model/some.model-v1:0")},
    "record-failure": _objects("Get Put", STATUS) | _objects("Get", "jobs/*/resume/*"),
    "finish": _objects("Get Put", STATUS) | {Grant("sqs:SendMessage", "queue")},
    "status": _objects("Get", STATUS)
    | {Grant("lambda:InvokeFunction", "pixel-prompt-dev-finish"), Grant("states:DescribeExecution", EXECUTIONS)},
    "enhance": _objects("Get Put", "enhanced/*", "rate-limit/enhance.json") | READ_MODELS,
    "upload": _objects("Get Put", "rate-limit/uploads.json") | _objects("Put", "uploads/*"),
    "models": READ_MODELS,
    "gallery": _objects("Get", STATUS),
    "cancel": _objects("Get Put", STATUS) | {Grant("states:StopExecution", EXECUTIONS)},
    "retry": _objects("Get Put", STATUS, "rate-limit/ratelimit.json")
    | _objects("Get", "jobs/*/resume/*")
    | {Grant("states:StartExecution", "machine")},
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_may_do_exactly_this(resources: Resources, name: str) -> None:
    log_group = f"/aws/lambda/pixel-prompt-dev-{name}"
    own_logs = {Grant(f"logs:{action}", log_group) for action in ("CreateLogStream", "PutLogEvents")}
    traces = {Grant(action, "*") for action in TRACE}
    assert resources.grants(resources.function(name)["Role"]) == GRANTS[name] | own_logs | traces | {LIST}


RETAINED = {"DeletionPolicy": "RetainExceptOnCreate", "UpdateReplacePolicy": "Retain"}
COUNTERS = {"submit": "jobs", "retry": "jobs", "enhance": "enhance", "upload": "uploads"}


@pytest.fixture(scope="module")
def with_ledger(synthesize: Synthesize) -> Resources:
    """The resources where requests are counted in DynamoDB."""
    return Resources(synthesize(limitStore="dynamodb", promptModelIndex=1))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_with_a_ledger_those_who_count_may_write_their_windows_there(
    resources: Resources, with_ledger: Resources, name: str
) -> None:
    before = resources.grants(resources.function(name)["Role"])
    now = with_ledger.grants(with_ledger.function(name)["Role"])
    if name not in COUNTERS:
        assert now == before
        return
    windows = f"ledger/rate-limit/{COUNTERS[name]}/*"
    assert now - before == {Grant(f"dynamodb:{action}", windows) for action in ("UpdateItem", "BatchGetItem")}
    lost = {grant for grant in before if grant.resource.startswith("bucket/rate-limit/")}
    assert before - now == (lost | {LIST} if name == "upload" else lost)
    variables = with_ledger.function(name)["Environment"]["Variables"]
    assert with_ledger.text(variables["LEDGER_TABLE"]) == "ledger"


def test_only_who_counts_knows_the_ledger(with_ledger: Resources) -> None:
    for name in set(FUNCTIONS) - set(COUNTERS):
        assert "LEDGER_TABLE" not in with_ledger.function(name)["Environment"]["Variables"]


# What a budget adds to the grants of a function, and to its environment.
RESERVING = {"ledger/budget": "UpdateItem BatchGetItem"}
CLAIMS = {"ledger/reservation/*": "UpdateItem"}
OVERLAY = Grant("s3:GetObject", "bucket/config/models.json")
RECORDING = {"ledger/usage/*": "UpdateItem"}
LIMITS = {"DAILY_BUDGET": "0.5", "MONTHLY_BUDGET": "100", "UNKNOWN_PRICE_CEILING": "0.000001"}
CHARGES = {"CHARGES": "true"}
WITH_BUDGET = {
    "submit": (RESERVING | CLAIMS | RECORDING, LIMITS | CHARGES),
    "retry": (RESERVING | CLAIMS | RECORDING, LIMITS | CHARGES | {"KEY_HOSTS": "{}"}),
    "enhance": (RESERVING | RECORDING, LIMITS | CHARGES),
    "generate": (CLAIMS, {"LEDGER_TABLE": "ledger"}),
    "finish": ({"ledger/budget": "UpdateItem"} | CLAIMS | RECORDING, {"LEDGER_TABLE": "ledger"}),
    "status": ({}, {"USAGE": "true"}),
}
BUDGETS = {"dailyBudget": "0.5", "monthlyBudget": 100, "unknownPriceCeiling": "0.000001"}


def _items(actions: dict[str, str]) -> set[Grant]:
    return {Grant(f"dynamodb:{action}", items) for items, named in actions.items() for action in named.split()}


@pytest.fixture(scope="module")
def with_budget(synthesize: Synthesize) -> Resources:
    """The resources where jobs and enhancements have a budget."""
    return Resources(synthesize(promptModelIndex=1, **BUDGETS))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_with_a_budget_those_who_spend_may_change_it(with_ledger: Resources, with_budget: Resources, name: str) -> None:
    actions, variables = WITH_BUDGET.get(name, ({}, {}))
    before, now = (resources.function(name) for resources in (with_ledger, with_budget))
    assert with_budget.grants(now["Role"]) == with_ledger.grants(before["Role"]) | _items(actions) | (
        {OVERLAY} if name == "retry" else set()
    )
    own = {key: with_budget.text(value) for key, value in now["Environment"]["Variables"].items()}
    known = {key: with_ledger.text(value) for key, value in before["Environment"]["Variables"].items()}
    assert own == known | variables


def test_a_limit_that_is_not_set_is_not_in_the_environment(synthesize: Synthesize) -> None:
    resources = Resources(synthesize(monthlyBudget=1_000_000))
    for name in ("submit", "retry", "enhance"):
        variables = resources.function(name)["Environment"]["Variables"]
        assert {key: variables[key] for key in LIMITS if key in variables} == {"MONTHLY_BUDGET": "1000000"}


def test_the_sweep_may_do_exactly_this(with_budget: Resources) -> None:
    sweep = with_budget.function("sweep")
    log_group = "/aws/lambda/pixel-prompt-dev-sweep"
    own_logs = {Grant(f"logs:{action}", log_group) for action in ("CreateLogStream", "PutLogEvents")}
    assert with_budget.grants(sweep["Role"]) == {
        LIST,
        *own_logs,
        *(Grant(action, "*") for action in TRACE),
        *_objects("Get Put", STATUS),
        *_items({"ledger/budget": "UpdateItem Query", "ledger/reservation/*": "UpdateItem"} | RECORDING),
        Grant("states:DescribeExecution", EXECUTIONS),
    }
    variables = {key: with_budget.text(value) for key, value in sweep["Environment"]["Variables"].items()}
    assert set(variables) == COMMON | {"LEDGER_TABLE", "MAX_JOB_SECONDS", "STATE_MACHINE_ARN"}
    assert (variables["LEDGER_TABLE"], variables["STATE_MACHINE_ARN"]) == ("ledger", "machine")
    status = with_budget.function("status")["Environment"]["Variables"]
    assert variables["MAX_JOB_SECONDS"] == status["MAX_JOB_SECONDS"]


def test_the_sweep_runs_every_five_minutes_and_ends_before_the_next(with_budget: Resources) -> None:
    sweep = with_budget.function("sweep")
    assert (sweep["Handler"], sweep["Timeout"], sweep["MemorySize"]) == ("sweep.handler", 240, MEMORY["finish"])
    assert sweep["Code"] == with_budget.function("finish")["Code"]
    (rule,) = (rule for rule in with_budget.of_type("AWS::Events::Rule") if "ScheduleExpression" in rule)
    assert (rule["ScheduleExpression"], rule["State"]) == ("rate(5 minutes)", "ENABLED")
    (target,) = rule["Targets"]
    assert with_budget.text(target["Arn"]) == "pixel-prompt-dev-sweep"
    # What a run fails at is left to the next.
    assert target["RetryPolicy"] == {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 300}
    (config,) = (
        config
        for config in with_budget.of_type("AWS::Lambda::EventInvokeConfig")
        if with_budget.text(config["FunctionName"]) == "pixel-prompt-dev-sweep"
    )
    assert (config["MaximumRetryAttempts"], config["MaximumEventAgeInSeconds"]) == (0, 300)
    (invoker,) = (
        permission
        for permission in with_budget.of_type("AWS::Lambda::Permission")
        if with_budget.text(permission["FunctionName"]) == "pixel-prompt-dev-sweep"
    )
    assert invoker["Principal"] == "events.amazonaws.com"


@pytest.fixture(scope="module")
def with_keys(synthesize: Synthesize) -> Resources:
    """The resources where callers have API keys."""
    return Resources(synthesize(apiAuth="keys", gallery="public", unknownPriceCeiling="0.5"))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_with_keys_those_who_spend_may_charge_it_to_them(
    with_ledger: Resources, with_keys: Resources, name: str
) -> None:
    actions, variables = WITH_BUDGET.get(name, ({}, {}))
    before, now = (resources.function(name) for resources in (with_ledger, with_keys))
    signed = _objects("Get", "images/*") if name in ("status", "cancel", "gallery") else set()
    assert with_keys.grants(now["Role"]) == with_ledger.grants(before["Role"]) | _items(actions) | signed | (
        {OVERLAY} if name == "retry" else set()
    )
    own = {key: with_keys.text(value) for key, value in now["Environment"]["Variables"].items()}
    known = {key: with_ledger.text(value) for key, value in before["Environment"]["Variables"].items()}
    known.pop("CLOUDFRONT_DOMAIN", None)
    charged = {key: value for key, value in variables.items() if key not in LIMITS}
    assert own == known | charged | ({"UNKNOWN_PRICE_CEILING": "0.5"} if "CHARGES" in charged else {})


def test_keys_have_the_sweep_and_its_alarms(with_keys: Resources) -> None:
    assert with_keys.function("sweep")["Environment"]["Variables"]["LEDGER_TABLE"]
    alarms = {alarm["AlarmName"] for alarm in with_keys.of_type("AWS::CloudWatch::Alarm")}
    assert {f"pixel-prompt-dev-{name}" for name in ("over-reserved", "swept-reservations")} <= alarms


def _own_logs_and_traces(name: str) -> set[Grant]:
    log_group = f"/aws/lambda/pixel-prompt-dev-{name}"
    logs = {Grant(f"logs:{action}", log_group) for action in ("CreateLogStream", "PutLogEvents")}
    return logs | {Grant(action, "*") for action in TRACE}


def test_the_authorizer_reads_keys_and_nothing_else(with_keys: Resources) -> None:
    function = with_keys.function("authorize")
    keys = Grant("dynamodb:BatchGetItem", "ledger/api-key")
    assert with_keys.grants(function["Role"]) == _own_logs_and_traces("authorize") | {keys}
    variables = function["Environment"]["Variables"]
    assert set(variables) == COMMON | {"LEDGER_TABLE"}
    assert with_keys.text(variables["LEDGER_TABLE"]) == "ledger"
    assert (function["Handler"], function["Timeout"]) == ("authorize.handler", 10)
    assert function["MemorySize"] == MEMORY["authorize"]
    assert function["Code"] == with_keys.function("status")["Code"]


def test_the_authorizer_decides_for_every_route_by_the_key_alone(with_keys: Resources) -> None:
    routes = with_keys.of_type("AWS::ApiGatewayV2::Route")
    types = {route["RouteKey"]: route.get("AuthorizationType", "NONE") for route in routes}
    assert {key for key, type_ in types.items() if type_ == "NONE"} == {"$default", "GET /openapi.json"}
    assert {type_ for type_ in types.values() if type_ != "NONE"} == {"CUSTOM"}
    (authorizer,) = with_keys.of_type("AWS::ApiGatewayV2::Authorizer")
    assert (authorizer["AuthorizerType"], authorizer["AuthorizerPayloadFormatVersion"]) == ("REQUEST", "2.0")
    assert authorizer["EnableSimpleResponses"] is True
    assert authorizer["AuthorizerResultTtlInSeconds"] == 30
    # What is cached holds for all routes.
    assert authorizer["IdentitySource"] == ["$request.header.Authorization"]
    assert "pixel-prompt-dev-authorize" in with_keys.text(authorizer["AuthorizerUri"])
    permissions = with_keys.of_type("AWS::Lambda::Permission")
    invokers = [p["Principal"] for p in permissions if "-authorize" in with_keys.text(p["FunctionName"])]
    assert invokers == ["apigateway.amazonaws.com"]


@pytest.mark.parametrize(
    ("settings", "limits"),
    [
        ({"apiAuth": "keys"}, {"CONFIRM_ABOVE": "0.25"}),
        ({"dailyBudget": 5}, {"CONFIRM_ABOVE": "0.25", "DAILY_BUDGET": "5"}),
        (
            {"apiAuth": "keys", "monthlyBudget": "1.5", "confirmAbove": 1, "unknownPriceCeiling": 1},
            {"CONFIRM_ABOVE": "1", "MONTHLY_BUDGET": "1.5"},
        ),
        ({"target": "local", "apiAuth": "keys", "confirmAbove": 0}, {"CONFIRM_ABOVE": "0"}),
    ],
    ids=str,
)
def test_the_usage_function_may_do_exactly_this(
    synthesize: Synthesize, settings: dict[str, Any], limits: dict[str, str]
) -> None:
    resources = Resources(synthesize(**settings))
    function = resources.function("usage")
    names_of_keys = {"ledger/api-key": "Query"} if settings.get("apiAuth") == "keys" else {}
    assert resources.grants(function["Role"]) == _own_logs_and_traces("usage") | _items(
        {"ledger/usage/*": "Query", "ledger/budget": "BatchGetItem"} | names_of_keys
    )
    variables = function["Environment"]["Variables"]
    assert set(variables) == COMMON | {"LEDGER_TABLE", "CORS_ORIGINS"} | set(limits)
    assert {name: variables[name] for name in limits} == limits
    assert (function["Timeout"], function["MemorySize"]) == (REQUEST_SECONDS, MEMORY["usage"])
    keys = {route["RouteKey"] for route in resources.of_type("AWS::ApiGatewayV2::Route")}
    assert "GET /usage" in keys
    assert resources.function("status")["Environment"]["Variables"]["USAGE"] == "true"


def test_only_keys_have_an_authorizer(resources: Resources, with_budget: Resources) -> None:
    for without in (resources, with_budget):
        assert "pixel-prompt-dev-authorize" not in without.names.values()
        assert not without.of_type("AWS::ApiGatewayV2::Authorizer")


def test_only_a_budget_or_keys_have_the_sweep_and_usage(resources: Resources, with_ledger: Resources) -> None:
    for without in (resources, with_ledger):
        assert not {f"pixel-prompt-dev-{name}" for name in BUDGET_FUNCTIONS} & set(without.names.values())
        assert "USAGE" not in without.function("status")["Environment"]["Variables"]
        assert len(without.of_type("AWS::Events::Rule")) == len(without.of_type("AWS::Lambda::EventInvokeConfig")) == 1


@pytest.mark.parametrize("settings", [{}, {"stage": "prod", "apiAuth": "iam"}, {"target": "local"}], ids=str)
def test_where_requests_are_counted_in_s3_there_is_no_table(synthesize: Synthesize, settings: dict[str, str]) -> None:
    template = synthesize(**settings).to_json()
    assert not [entry for entry in template["Resources"].values() if entry["Type"].startswith("AWS::DynamoDB::")]
    assert "dynamodb" not in json.dumps(template["Resources"])


@pytest.mark.parametrize(
    ("settings", "restored", "policies"),
    [
        ({}, False, {"DeletionPolicy": "Delete", "UpdateReplacePolicy": "Delete"}),
        ({"removalPolicy": "retain"}, False, RETAINED),
        ({"stage": "prod", "apiAuth": "iam"}, True, RETAINED),
    ],
    ids=str,
)
def test_the_ledger_is_on_demand_and_expires(
    synthesize: Synthesize, settings: dict[str, str], restored: bool, policies: dict[str, str]
) -> None:
    template = synthesize(limitStore="dynamodb", **settings).to_json()
    (table,) = [entry for entry in template["Resources"].values() if entry["Type"] == "AWS::DynamoDB::Table"]
    properties = table["Properties"]
    assert {name: properties.get(name) for name in LEDGER_SCHEMA} == LEDGER_SCHEMA
    assert properties["TimeToLiveSpecification"] == {"AttributeName": "expiresAt", "Enabled": True}
    assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": restored}
    assert {name: table[name] for name in policies} == policies
    assert "TableName" not in properties


@pytest.mark.parametrize(
    "settings",
    [{}, {"cloudfront": "false"}, {"stage": "prod", "apiAuth": "iam"}],
    ids=str,
)
def test_a_missing_key_is_404_to_every_role_that_reads(synthesize: Synthesize, settings: dict[str, str]) -> None:
    """S3 answers 403 to a role that may not list the bucket; a GET has no ``s3:prefix`` that could meet a condition."""
    resources = Resources(synthesize(**settings))
    readers, listers = set(), set()
    for policy in resources.of_type("AWS::IAM::Policy"):
        roles = {role["Ref"] for role in policy["Roles"]}
        statements = policy["PolicyDocument"]["Statement"]
        if any("s3:GetObject" in listed(statement["Action"]) for statement in statements):
            readers |= roles
        if any(s["Action"] == "s3:ListBucket" and "Condition" not in s for s in statements):
            listers |= roles
    ours = [f for f in resources.of_type("AWS::Lambda::Function") if "pixel-prompt" in str(f.get("FunctionName"))]
    assert readers == {function["Role"]["Fn::GetAtt"][0] for function in ours}
    assert readers - listers == set()


def test_whoever_writes_under_a_condition_may_read_what_it_replaces(resources: Resources) -> None:
    for name in FUNCTIONS:
        allowed = resources.grants(resources.function(name)["Role"])
        for key in CONDITIONAL_KEYS:
            written = {g.resource for g in allowed if g.action == "s3:PutObject" and g.resource.startswith(key)}
            assert written <= {g.resource for g in allowed if g.action == "s3:GetObject"}, name


def test_what_is_written_without_a_condition_is_not_refused(resources: Resources) -> None:
    """Tokens, pictures and their index have one writer each, which names no version."""
    (deny,) = [s for s in bucket_policies(resources)["bucket"] if s.get("Sid") == "OnlyConditionalWrites"]
    refused = [resources.text(arn).removeprefix("bucket/") for arn in deny["Resource"]]
    job = "jobs/0bfe8cdc-d477-41b5-98ae-0b4fcdc504e7"
    unconditional = [
        f"{job}/resume/0.json", f"{job}/resume/3-r2.json", "group-images/g/m-1.json", "images/g/m-1.png", "uploads/0f",
        "references/0bfe8cdc/given.json", "references/0bfe8cdc/0",
    ]  # fmt: skip
    assert not [key for key in unconditional if any(fnmatch.fnmatchcase(key, pattern) for pattern in refused)]
    conditional = [f"{job}/status.json", *(f"rate-limit/{name}.json" for name in ("ratelimit", "enhance", "uploads"))]
    assert all(any(fnmatch.fnmatchcase(key, pattern) for pattern in refused) for key in conditional)


def test_every_function_has_its_own_role(resources: Resources) -> None:
    assert len({json.dumps(resources.function(name)["Role"]) for name in FUNCTIONS}) == len(FUNCTIONS)


def test_machine_may_invoke_the_functions_of_its_tasks_only(resources: Resources) -> None:
    (machine,) = resources.of_type("AWS::StepFunctions::StateMachine")
    narrow = {grant for grant in resources.grants(machine["RoleArn"]) if grant[1] != "*"}
    assert narrow == {Grant("lambda:InvokeFunction", f"pixel-prompt-dev-{name}") for name in TASKS}


@pytest.mark.parametrize("settings", [{}, {"stage": "prod"}, {"target": "local"}, {"dailyBudget": "0.5"}], ids=str)
def test_no_policy_is_wider_than_it_must_be(synthesize: Synthesize, settings: dict[str, str]) -> None:
    resources = Resources(synthesize(**settings))
    for policy in resources.of_type("AWS::IAM::Policy"):
        # What the CDK's own custom resource, which copies the page at a deployment, may do is the CDK's.
        if policy["PolicyName"].startswith("CustomCDKBucketDeployment"):
            continue
        for statement in policy["PolicyDocument"]["Statement"]:
            actions = set(listed(statement["Action"]))
            assert not any("*" in action for action in actions)
            if "*" in listed(statement["Resource"]):
                assert actions <= LOGS_DELIVERY | TRACE | {"xray:GetSamplingRules", "xray:GetSamplingTargets"}


COMMON = {"LOG_LEVEL", "POWERTOOLS_SERVICE_NAME", "BUCKET_NAME"}
ENVIRONMENT = {
    "submit": {
        "STATE_MACHINE_ARN", "PROVIDER_SECRET", "PROVIDER_ENDPOINTS", "KEY_HOSTS", "GLOBAL_LIMIT", "IP_LIMIT",
        "IP_INCLUDE", "TRUST_BODY_IP", "API_URL", "CORS_ORIGINS", "MODERATION", "PROMPT_MODEL_INDEX",
    },
    "prepare-references": {"MALLOC_MMAP_THRESHOLD_", "GALLERY"},
    "generate": {"PROVIDER_SECRET", "PROVIDER_ENDPOINTS", "KEY_HOSTS"},
    "record-failure": set(),
    "finish": set(),
    "status": {
        "FINISH_FUNCTION", "STATE_MACHINE_ARN", "CORS_ORIGINS", "CLOUDFRONT_DOMAIN", "MAX_JOB_SECONDS", "STATUS_WAIT",
        "GALLERY",
    },
    "enhance": {
        "PROVIDER_SECRET", "PROVIDER_ENDPOINTS", "KEY_HOSTS", "PROMPT_MODEL_INDEX", "ENHANCE_LIMIT", "ENHANCE_IP_LIMIT",
        "IP_INCLUDE", "TRUST_BODY_IP", "CORS_ORIGINS", "MODERATION",
    },
    "upload": {"UPLOAD_LIMIT", "UPLOAD_IP_LIMIT", "IP_INCLUDE", "TRUST_BODY_IP", "CORS_ORIGINS"},
    "models": {"PROVIDER_SECRET", "PROVIDER_ENDPOINTS", "KEY_HOSTS", "PROMPT_MODEL_INDEX", "CORS_ORIGINS"},
    "gallery": {"CLOUDFRONT_DOMAIN", "CORS_ORIGINS", "GALLERY"},
    "cancel": {"STATE_MACHINE_ARN", "CLOUDFRONT_DOMAIN", "CORS_ORIGINS"},
    "retry": {
        "STATE_MACHINE_ARN", "GLOBAL_LIMIT", "IP_LIMIT", "IP_INCLUDE", "TRUST_BODY_IP", "API_URL", "CORS_ORIGINS",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_environment(resources: Resources, name: str) -> None:
    variables = resources.function(name)["Environment"]["Variables"]
    assert set(variables) == COMMON | ENVIRONMENT[name]
    assert resources.text(variables["BUCKET_NAME"]) == "bucket"
    assert resources.text(variables.get("PROVIDER_SECRET", "secret")) == "secret"
    assert resources.text(variables.get("STATE_MACHINE_ARN", "machine")) == "machine"
    assert resources.text(variables.get("FINISH_FUNCTION", "pixel-prompt-dev-finish")) == "pixel-prompt-dev-finish"


def test_settings_reach_the_functions(synthesize: Synthesize) -> None:
    resources = Resources(
        synthesize(
            target="local", globalLimit=7, ipLimit=3, ipInclude="192.0.2.7", logLevel="DEBUG", promptModelIndex=2,
            enhanceLimit=9, enhanceIpLimit=4, uploadLimit=8, uploadIpLimit=5,
            maxConcurrency=4, corsOrigins="https://example.com", providerEndpoints='{"openai": "http://127.0.0.1:1"}',
            keyHosts='{"MY_KEY": ["my.example"]}',
        )
    )  # fmt: skip
    submit = resources.function("submit")["Environment"]["Variables"]
    expected = {
        "GLOBAL_LIMIT": "7",
        "IP_LIMIT": "3",
        "IP_INCLUDE": "192.0.2.7",
        "TRUST_BODY_IP": "true",
        "LOG_LEVEL": "DEBUG",
    }
    assert expected.items() <= submit.items()
    assert json.loads(submit["PROVIDER_ENDPOINTS"]) == {"openai": "http://127.0.0.1:1"}
    for name in ("submit", "generate", "enhance", "models"):
        hosts = resources.function(name)["Environment"]["Variables"]["KEY_HOSTS"]
        assert json.loads(hosts) == {"MY_KEY": ["my.example"]}
    enhance = resources.function("enhance")["Environment"]["Variables"]
    assert (enhance["PROMPT_MODEL_INDEX"], enhance["CORS_ORIGINS"]) == ("2", "https://example.com")
    assert submit["PROMPT_MODEL_INDEX"] == "2"
    assert (enhance["ENHANCE_LIMIT"], enhance["ENHANCE_IP_LIMIT"]) == ("9", "4")
    assert (enhance["IP_INCLUDE"], enhance["TRUST_BODY_IP"]) == ("192.0.2.7", "true")
    upload = resources.function("upload")["Environment"]["Variables"]
    assert (upload["UPLOAD_LIMIT"], upload["UPLOAD_IP_LIMIT"]) == ("8", "5")
    assert (upload["IP_INCLUDE"], upload["TRUST_BODY_IP"]) == ("192.0.2.7", "true")
    (machine,) = resources.of_type("AWS::StepFunctions::StateMachine")
    states = json.loads(machine["DefinitionString"])["States"].values()
    assert [state["MaxConcurrency"] for state in states if state["Type"] == "Map"] == [4]


@pytest.mark.parametrize("version", PYTHON_VERSIONS)
def test_functions_run_on_the_python_that_is_set(synthesize: Synthesize, version: str) -> None:
    resources = Resources(synthesize(pythonVersion=version))
    others = {resources.function(name)["Runtime"] for name in FUNCTIONS if name != "prepare-references"}
    assert others == {f"python{version}"}
    # Pillow's wheels need a newer glibc than Lambda has with Python 3.11.
    newer = "3.12" if version == "3.11" else version
    assert resources.function("prepare-references")["Runtime"] == f"python{newer}"


@pytest.mark.parametrize("version", PYTHON_VERSIONS)
def test_the_emulator_runs_all_functions_on_one_python(synthesize: Synthesize, version: str) -> None:
    """It has one interpreter, for which Pillow is installed, whatever glibc it has."""
    resources = Resources(synthesize(target="local", pythonVersion=version))
    assert {resources.function(name)["Runtime"] for name in FUNCTIONS} == {f"python{version}"}


@pytest.mark.parametrize("version", PYTHON_VERSIONS)
def test_every_archive_for_the_chosen_python_has_bytecode(
    synthesize: Synthesize, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This machine may lack the newer Python of Pillow's archive, where another is chosen."""
    made = {}

    class Recorded(functions.Bundle):
        def __init__(self, requirements: Path | None = None, **options: Any) -> None:
            super().__init__(requirements, **options)
            made[requirements] = (self.python, self.compiles)

    monkeypatch.setattr(functions, "Bundle", Recorded)
    # No other test has these settings, so the stack is made here.
    synthesize(pythonVersion=version, ipLimit=77)
    references = ("3.12", False) if version == "3.11" else (version, True)
    assert made == {CORE: (version, True), PROVIDERS: (version, True), REFERENCES: references}


def test_functions_have_the_memory_of_the_table(resources: Resources) -> None:
    memory = {name: resources.function(name)["MemorySize"] for name in FUNCTIONS}
    others = BUDGET_FUNCTIONS | {"authorize"}
    assert memory == {name.replace("_", "-"): size for name, size in MEMORY.items() if name not in others}


def test_functions_run_on_arm_with_logs_and_traces(resources: Resources) -> None:
    for name in FUNCTIONS:
        function = resources.function(name)
        assert function["Architectures"] == ["arm64"]
        assert name == "prepare-references" or function["Runtime"] == f"python{INTERPRETER}"
        assert function["TracingConfig"] == {"Mode": "Active"}
        assert resources.text(function["LoggingConfig"]["LogGroup"]) == f"/aws/lambda/pixel-prompt-dev-{name}"
        module, _, handler = function["Handler"].partition(".")
        assert (ROOT / "functions" / f"{module}.py").is_file()
        assert (module.replace("_", "-"), handler) == (name, "handler")


def test_time_limits_nest(resources: Resources) -> None:
    """A Lambda ends before its task does, and a task before the machine: who is inside reports first."""
    (machine,) = resources.of_type("AWS::StepFunctions::StateMachine")
    definition = json.loads(machine["DefinitionString"])
    limits: dict[str, int] = {}

    def walk(states: dict[str, Any]) -> None:
        for state in states.values():
            if state["Type"] == "Task":
                (name,) = re.findall(r"\$\{(\w+)\}", state["Arguments"]["FunctionName"])
                limits[resources.text(machine["DefinitionSubstitutions"][name])] = state["TimeoutSeconds"]
            walk(state.get("ItemProcessor", {}).get("States", {}))

    walk(definition["States"])
    assert set(limits) == {f"pixel-prompt-dev-{name}" for name in TASKS}
    assert limits["pixel-prompt-dev-prepare-references"] == 160
    assert resources.function("prepare-references")["Timeout"] == 150
    for name, limit in limits.items():
        assert (
            resources.function(name.removeprefix("pixel-prompt-dev-"))["Timeout"] < limit < definition["TimeoutSeconds"]
        )


def test_answers_come_before_the_api_gives_up(resources: Resources) -> None:
    """API Gateway waits for 30 s (Amazon API Gateway Developer Guide, "Quotas for HTTP APIs")."""
    called = ("submit", "status", "enhance", "upload", "cancel", "retry", "models", "gallery")
    assert {resources.function(name)["Timeout"] for name in called} == {REQUEST_SECONDS}
    assert REQUEST_SECONDS < 30
    # A run that has no execution when its maker has ended will have none.
    assert STARTING_SECONDS > REQUEST_SECONDS


def test_definition_is_the_file(resources: Resources) -> None:
    (machine,) = resources.of_type("AWS::StepFunctions::StateMachine")
    written = json.loads((ROOT / "statemachine" / "generate_images.asl.json").read_text())
    assert json.loads(machine["DefinitionString"]) == written
    assert written["States"]["Generate images"]["MaxConcurrency"] == 40
    # Forty models in waves of nine: five waves.
    assert written["TimeoutSeconds"] == 490 + 480 + 5 * 420 == 3070
    assert set(re.findall(r"\$\{(\w+)\}", machine["DefinitionString"])) == set(machine["DefinitionSubstitutions"])


@pytest.mark.parametrize(("max_concurrency", "seconds"), [(1, 970 + 40 * 420), (8, 3070), (5, 4330), (20, 3070)])
def test_fewer_models_at_once_have_more_time(synthesize: Synthesize, max_concurrency: int, seconds: int) -> None:
    resources = Resources(synthesize(maxConcurrency=max_concurrency))
    (machine,) = resources.of_type("AWS::StepFunctions::StateMachine")
    assert json.loads(machine["DefinitionString"])["TimeoutSeconds"] == seconds
    # Who asks for the status takes a job for abandoned five minutes after that.
    assert resources.function("status")["Environment"]["Variables"]["MAX_JOB_SECONDS"] == str(seconds + 300)


def test_the_time_limit_never_falls_below_waves_of_nine() -> None:
    seconds = [Settings(max_concurrency=number).execution_seconds for number in range(1, MAX_MODELS + 1)]
    assert seconds == sorted(seconds, reverse=True)
    assert set(seconds[8:]) == {3070}
    assert seconds[6] > 3070


def test_who_finds_no_free_lambda_is_patient(resources: Resources) -> None:
    (machine,) = resources.of_type("AWS::StepFunctions::StateMachine")
    states = json.loads(machine["DefinitionString"])["States"]
    item = states["Generate images"]["ItemProcessor"]["States"]
    patient = {
        "ErrorEquals": ["Lambda.TooManyRequestsException"],
        "IntervalSeconds": 1,
        "BackoffRate": 2,
        "MaxDelaySeconds": 30,
        "JitterStrategy": "FULL",
        "MaxAttempts": 60,
    }
    # After any other error the provider may have been paid already.
    assert item["Generate image"]["Retry"] == [patient]
    assert item["Record failure"]["Retry"][0] == patient
    assert states["Prepare references"]["Retry"][0] == patient
    finish = states["Finish job"]["Retry"]
    assert finish[0] == patient
    assert [retrier["ErrorEquals"] for retrier in finish[1:]] == [["States.ALL"]]
    # Full jitter takes half of each delay on average: 14 minutes. In a new account four waves of nine models come
    # before the last of 40 models; each holds its Lambdas for at most the longest call of a provider.
    delays = [min(2**attempt, 30) for attempt in range(60)]
    assert sum(delays) / 2 == 840.5 > 4 * MAX_CALL
    # Scheduled, started, failed: an execution has room for 25 000 events.
    assert 40 * 2 * 60 * 3 < 25_000


def test_what_is_retried_at_the_end_of_a_wave_fits_into_the_time_of_the_job(resources: Resources) -> None:
    """Beside its waves an execution has 480 s, for all attempts of *Record failure* and *Finish job* at full length."""
    states = _states(resources)
    record_failure = states["Generate images"]["ItemProcessor"]["States"]["Record failure"]
    assert _full_length(record_failure) + _full_length(states["Finish job"]) == 473 < 480


def test_what_is_retried_before_the_first_wave_fits_into_the_time_of_the_job(resources: Resources) -> None:
    """Beside its waves and its end an execution has 490 s, for all attempts of *Prepare references* at full length."""
    assert _full_length(_states(resources)["Prepare references"]) == 483 < 490


def _states(resources: Resources) -> dict[str, Any]:
    """The states of the machine, by name."""
    (machine,) = resources.of_type("AWS::StepFunctions::StateMachine")
    states: dict[str, Any] = json.loads(machine["DefinitionString"])["States"]
    return states


def _full_length(state: dict[str, Any]) -> float:
    """Seconds of all attempts of a task, each up to its timeout.

    Who waits for a free Lambda does so in the time of a wave.
    """
    (retrier,) = (entry for entry in state["Retry"] if entry["ErrorEquals"] != ["Lambda.TooManyRequestsException"])
    delays = [retrier["IntervalSeconds"] * retrier["BackoffRate"] ** n for n in range(retrier["MaxAttempts"])]
    return float(state["TimeoutSeconds"] * (len(delays) + 1) + sum(delays))


def test_a_placeholder_without_a_value_is_refused(synthesize: Synthesize, monkeypatch: Any, tmp_path: Path) -> None:
    definition = tmp_path / "broken.asl.json"
    definition.write_text('{"States": {"Call": {"Type": "Task", "Resource": "${GenerateFuntionArn}"}}}')
    monkeypatch.setattr("infra.definition.DEFINITION", definition)
    with pytest.raises(ValueError, match=r"^broken\.asl\.json has the placeholders GenerateFuntionArn; it must"):
        synthesize(ipLimit=1)


def test_what_costs_money_is_throttled_harder(resources: Resources) -> None:
    (stage,) = resources.of_type("AWS::ApiGatewayV2::Stage")
    default = stage["DefaultRouteSettings"]
    assert (default["ThrottlingRateLimit"], default["ThrottlingBurstLimit"]) == (50, 100)
    paid = {"ThrottlingRateLimit": 10, "ThrottlingBurstLimit": 20}
    assert stage["RouteSettings"] == dict.fromkeys(("POST /generate", "POST /retry/{jobId}", "POST /enhance"), paid)


def test_machine_logs_everything_but_the_data(template: Template) -> None:
    template.has_resource_properties(
        "AWS::StepFunctions::StateMachine",
        {
            "StateMachineName": "pixel-prompt-dev-generate-images",
            "StateMachineType": "STANDARD",
            "LoggingConfiguration": {"Level": "ALL", "IncludeExecutionData": False, "Destinations": Match.any_value()},
            "TracingConfiguration": {"Enabled": True},
        },
    )


def test_every_log_group_expires(synthesize: Synthesize) -> None:
    groups = Resources(synthesize(logRetentionDays=731, retentionDays=90)).of_type("AWS::Logs::LogGroup")
    expected: dict[str | None, int] = {
        **{f"/aws/lambda/pixel-prompt-dev-{name}": 731 for name in FUNCTIONS},
        "/aws/vendedlogs/states/pixel-prompt-dev-generate-images": 731,
        "/aws/vendedlogs/apigateway/pixel-prompt-dev": 731,
        # The page's copier writes when the stack is deleted, too: a name of ours would be taken at the next deployment.
        None: 731,
    }
    assert {group.get("LogGroupName"): group["RetentionInDays"] for group in groups} == expected


def test_objects_expire(synthesize: Synthesize) -> None:
    bucket = Resources(synthesize(logRetentionDays=731, retentionDays=90)).data_bucket()
    rules = bucket["LifecycleConfiguration"]["Rules"]
    assert all(rule["Status"] == "Enabled" for rule in rules)
    assert {rule["Prefix"]: rule["ExpirationInDays"] for rule in rules if "Prefix" in rule} == {
        "jobs/": 90,
        "group-images/": 90,
        "images/": 90,
        "gallery-index/": 90,
        "owned-galleries/": 90,
        "references/": 90,
        "uploads/": 1,
        "enhanced/": 7,
        "rate-limit/": 2,
        "idempotency/": 2,
    }
    assert {"DaysAfterInitiation": 1} in [rule.get("AbortIncompleteMultipartUpload") for rule in rules]


def test_the_document_says_how_long_prompts_are_kept(synthesize: Synthesize) -> None:
    text = (ROOT / "docs" / "explanation" / "security.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"\| where \| content \| kept for \|\n\|[ |-]+\|\n((?:\|.*\n)+)", text)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    kept = {place: row[2] for row in rows for place in re.findall(r"`([\w/-]+)`", row[0]) or [row[0]]}
    resources = Resources(synthesize(logRetentionDays=731, retentionDays=90))
    days = {"`retentionDays` (30)": 90, "`logRetentionDays` (30)": 731}
    days |= {"1 day": 1, "2 days": 2, "7 days": 7, "14 days": 14}
    rules = resources.data_bucket()["LifecycleConfiguration"]["Rules"]
    expiry = {rule["Prefix"]: rule["ExpirationInDays"] for rule in rules if "Prefix" in rule}
    assert {place: days[told] for place, told in kept.items() if place.endswith("/")} == expiry
    (queue,) = resources.of_type("AWS::SQS::Queue")
    assert queue["MessageRetentionPeriod"] == days[kept["UnfinishedJobs"]] * 24 * 3600
    logs = {days[told] for place, told in kept.items() if "log" in place.split()}
    logs |= {days[told] for place, told in kept.items() if "logs" in place.split()}
    assert logs == {group["RetentionInDays"] for group in resources.of_type("AWS::Logs::LogGroup")}
    (machine,) = resources.of_type("AWS::StepFunctions::StateMachine")
    # Only of a standard execution does AWS itself keep the history.
    assert machine["StateMachineType"] == "STANDARD"
    assert kept["execution history of Step Functions"].startswith("90 days")


def test_what_has_expired_is_gone(resources: Resources) -> None:
    """With versions, an object that expires would stay as an earlier one."""
    assert "VersioningConfiguration" not in resources.data_bucket()


def test_buckets_are_private(resources: Resources) -> None:
    buckets = resources.of_type("AWS::S3::Bucket")
    assert len(buckets) == 2
    for bucket in buckets:
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
        assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
        (encryption,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert encryption["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    policies = [*bucket_policies(resources).values()]
    assert len(policies) == 2
    for statements in policies:
        (tls,) = [s for s in statements if s.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}}]
        assert (tls["Effect"], tls["Action"], tls["Principal"]) == ("Deny", "s3:*", {"AWS": "*"})


def bucket_policies(resources: Resources) -> dict[str, list[dict[str, Any]]]:
    """The statements of each bucket's policy, by the bucket's name."""
    return {
        resources.text(policy["Bucket"]): policy["PolicyDocument"]["Statement"]
        for policy in resources.of_type("AWS::S3::BucketPolicy")
    }


@pytest.mark.parametrize("settings", [{}, {"stage": "prod"}, {"cloudfront": "false"}, {"target": "local"}], ids=str)
def test_a_job_or_count_is_never_written_without_a_condition(synthesize: Synthesize, settings: dict[str, str]) -> None:
    resources = Resources(synthesize(**settings))
    (deny,) = [s for s in bucket_policies(resources)["bucket"] if s.get("Sid") == "OnlyConditionalWrites"]
    assert (deny["Effect"], deny["Principal"], deny["Action"]) == ("Deny", {"AWS": "*"}, "s3:PutObject")
    # Both under one Null: the statement holds only where neither header is there.
    assert deny["Condition"] == {"Null": {"s3:if-match": "true", "s3:if-none-match": "true"}}
    assert {resources.text(arn) for arn in deny["Resource"]} == {"bucket/jobs/*/status.json", "bucket/rate-limit/*"}


def test_cloudfront_reads_images_and_the_page_and_nothing_else(resources: Resources) -> None:
    readable = {}
    for bucket, statements in bucket_policies(resources).items():
        for statement in statements:
            if statement["Effect"] == "Allow" and "Service" in statement["Principal"]:
                assert statement["Principal"] == {"Service": "cloudfront.amazonaws.com"}
                assert statement["Action"] == "s3:GetObject"
                assert list(statement["Condition"]) == ["StringEquals"]
                assert list(statement["Condition"]["StringEquals"]) == ["AWS:SourceArn"]
                readable[bucket] = resources.text(statement["Resource"])
    assert readable == {"bucket": "bucket/images/*", "page": "page/*"}
    (distribution,) = resources.of_type("AWS::CloudFront::Distribution")
    config = distribution["DistributionConfig"]
    origins = {origin["Id"]: resources.text(origin["DomainName"]) for origin in config["Origins"]}
    assert all(origin["OriginAccessControlId"] for origin in config["Origins"])
    assert all(origin["S3OriginConfig"] == {"OriginAccessIdentity": ""} for origin in config["Origins"])
    assert origins[config["DefaultCacheBehavior"]["TargetOriginId"]] == "page"
    (images,) = config["CacheBehaviors"]
    assert (images["PathPattern"], origins[images["TargetOriginId"]]) == ("images/*", "bucket")
    for behavior in (config["DefaultCacheBehavior"], images):
        assert behavior["ViewerProtocolPolicy"] == "redirect-to-https"
    (control,) = resources.of_type("AWS::CloudFront::OriginAccessControl")
    signing = control["OriginAccessControlConfig"]
    assert (signing["SigningBehavior"], signing["SigningProtocol"]) == ("always", "sigv4")


def test_the_page_runs_no_script_but_its_own(resources: Resources) -> None:
    (page,) = [
        policy["ResponseHeadersPolicyConfig"]["SecurityHeadersConfig"]
        for policy in resources.of_type("AWS::CloudFront::ResponseHeadersPolicy")
        if "FrameOptions" in policy["ResponseHeadersPolicyConfig"]["SecurityHeadersConfig"]
    ]
    policy = resources.text(page["ContentSecurityPolicy"]["ContentSecurityPolicy"])
    directives = set(policy.split("; "))
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"} <= directives
    # By its name of all regions in us-east-1, and by that of its region elsewhere, the bucket takes uploads.
    (sources,) = [directive for directive in directives if directive.startswith("connect-src ")]
    api = "https://*.execute-api.<AWS::Region>.amazonaws.com"
    assert sources == f"connect-src 'self' blob: {api} https://bucket https://bucket"
    ((_, parts),) = page["ContentSecurityPolicy"]["ContentSecurityPolicy"].values()
    named = [part["Fn::GetAtt"] for part in parts if "Fn::GetAtt" in part]
    assert [attribute for _, attribute in named] == ["DomainName", "RegionalDomainName"]
    assert "unsafe" not in policy
    assert page["StrictTransportSecurity"]["AccessControlMaxAgeSec"] == 365 * 24 * 3600
    # The laptop's server sends these as well.
    assert page["FrameOptions"] == {"FrameOption": "DENY", "Override": True}
    assert page["ReferrerPolicy"] == {"ReferrerPolicy": "no-referrer", "Override": True}
    assert page["ContentTypeOptions"] == {"Override": True}


def test_an_image_that_is_opened_as_a_document_runs_nothing(resources: Resources) -> None:
    (distribution,) = resources.of_type("AWS::CloudFront::Distribution")
    (images,) = distribution["DistributionConfig"]["CacheBehaviors"]
    policy = resources.by_id[images["ResponseHeadersPolicyId"]["Ref"]]["Properties"]["ResponseHeadersPolicyConfig"]
    headers = policy["SecurityHeadersConfig"]
    directives = headers["ContentSecurityPolicy"]["ContentSecurityPolicy"].split("; ")
    assert {"default-src 'none'", "sandbox"} <= set(directives) and headers["ContentSecurityPolicy"]["Override"]
    assert headers["ContentTypeOptions"] == {"Override": True}


@pytest.mark.parametrize("moderation", ["keyword", "model", "openai"])
def test_submit_carries_the_sdks_only_where_a_model_judges_prompts(synthesize: Synthesize, moderation: str) -> None:
    resources = Resources(synthesize(moderation=moderation))
    names = ("submit", "generate", "status", "prepare-references")
    code = {name: resources.function(name)["Code"]["S3Key"] for name in names}
    assert len({code[name] for name in ("generate", "status", "prepare-references")}) == 3
    assert code["submit"] == code["status" if moderation == "keyword" else "generate"]


def test_without_cloudfront_addresses_are_signed(synthesize: Synthesize) -> None:
    resources = Resources(synthesize(cloudfront="false"))
    assert not [e for e in resources.by_id.values() if e["Type"].startswith("AWS::CloudFront")]
    for name in ("status", "cancel", "gallery"):
        function = resources.function(name)
        assert "CLOUDFRONT_DOMAIN" not in function["Environment"]["Variables"]
        own = {grant for grant in resources.grants(function["Role"]) if not grant[0].startswith(("logs:", "xray:"))}
        assert own == GRANTS[name] | {LIST} | _objects("Get", "images/*")


@pytest.mark.parametrize(
    ("settings", "origins"),
    [
        ({"cloudfront": "false", "corsOrigins": "https://a.example"}, ["https://a.example"]),
        ({"apiAuth": "keys"}, ["*"]),
        ({"apiAuth": "keys", "corsOrigins": "https://a.example"}, ["https://a.example", "https://*.cloudfront.net"]),
        # Only with keys or without authentication there is a page of ours.
        ({"apiAuth": "iam", "corsOrigins": "https://a.example"}, ["https://a.example"]),
        ({"stage": "prod", "apiAuth": "iam", "corsOrigins": "https://a.example"}, ["https://a.example"]),
    ],
    ids=str,
)
def test_pages_may_fetch_images_that_have_presigned_urls(
    synthesize: Synthesize, settings: dict[str, str], origins: list[str]
) -> None:
    reading, uploading = Resources(synthesize(**settings)).data_bucket()["CorsConfiguration"]["CorsRules"]
    assert reading == {"AllowedMethods": ["GET", "HEAD"], "AllowedOrigins": origins}
    assert uploading == {"AllowedMethods": ["POST"], "AllowedOrigins": origins}


@pytest.mark.parametrize("settings", [{"apiAuth": "keys"}, {"stage": "prod", "apiAuth": "keys"}], ids=str)
def test_with_keys_cloudfront_reads_the_page_and_nothing_else(synthesize: Synthesize, settings: dict[str, str]) -> None:
    resources = Resources(synthesize(**settings))
    (distribution,) = resources.of_type("AWS::CloudFront::Distribution")
    config = distribution["DistributionConfig"]
    assert [resources.text(origin["DomainName"]) for origin in config["Origins"]] == ["page"]
    assert not config.get("CacheBehaviors")
    readable = {
        bucket: resources.text(statement["Resource"])
        for bucket, statements in bucket_policies(resources).items()
        for statement in statements
        if statement["Effect"] == "Allow" and "Service" in statement["Principal"]
    }
    assert readable == {"page": "page/*"}
    assert not [f for f in resources.of_type("AWS::Lambda::Function") if "CLOUDFRONT_DOMAIN" in json.dumps(f)]
    (headers,) = resources.of_type("AWS::CloudFront::ResponseHeadersPolicy")
    security = headers["ResponseHeadersPolicyConfig"]["SecurityHeadersConfig"]
    policy = resources.text(security["ContentSecurityPolicy"]["ContentSecurityPolicy"]).split("; ")
    api = "https://*.execute-api.<AWS::Region>.amazonaws.com"
    assert "img-src 'self' blob: https://bucket https://bucket" in policy
    (sources,) = [directive for directive in policy if directive.startswith("connect-src ")]
    assert set(sources.split()[1:]) == {"'self'", "blob:", "https://bucket", api}


@pytest.mark.parametrize("auth", ["keys", "iam"])
def test_public_images_go_through_cloudfront_whoever_may_call(synthesize: Synthesize, auth: str) -> None:
    resources = Resources(synthesize(apiAuth=auth, publicImages="true"))
    (distribution,) = resources.of_type("AWS::CloudFront::Distribution")
    (images,) = distribution["DistributionConfig"]["CacheBehaviors"]
    assert images["PathPattern"] == "images/*"
    for name in ("status", "cancel", "gallery"):
        function = resources.function(name)
        assert function["Environment"]["Variables"]["CLOUDFRONT_DOMAIN"]["Fn::GetAtt"][1] == "DomainName"
        assert not _objects("Get", "images/*") & resources.grants(function["Role"])
    assert [rule["AllowedMethods"] for rule in resources.data_bucket()["CorsConfiguration"]["CorsRules"]] == [["POST"]]


def test_where_neither_images_nor_a_page_are_served_there_is_no_cloudfront(synthesize: Synthesize) -> None:
    resources = Resources(synthesize(apiAuth="iam"))
    assert not [e for e in resources.by_id.values() if e["Type"].startswith("AWS::CloudFront")]
    assert len(resources.of_type("AWS::S3::Bucket")) == 1
    assert "CLOUDFRONT_DOMAIN" not in resources.function("status")["Environment"]["Variables"]


@pytest.mark.parametrize(
    ("settings", "origins"),
    [
        ({}, ["*"]),
        ({"corsOrigins": "https://a.example,https://b.example"},
         ["https://a.example", "https://b.example", "https://*.cloudfront.net"]),
        # Where callers need other credentials than a key there is no page of ours.
        ({"corsOrigins": "https://a.example", "apiAuth": "iam", "publicImages": "true"}, ["https://a.example"]),
        ({"corsOrigins": "https://a.example", "apiAuth": "keys", "publicImages": "true"},
         ["https://a.example", "https://*.cloudfront.net"]),
    ],
    ids=str,
)  # fmt: skip
def test_pages_may_post_uploads_to_the_bucket_of_images_only(
    synthesize: Synthesize, settings: dict[str, str], origins: list[str]
) -> None:
    resources = Resources(synthesize(**settings))
    rules = {
        resources.names[logical_id]: entry["Properties"]["CorsConfiguration"]["CorsRules"]
        for logical_id, entry in resources.by_id.items()
        if entry["Type"] == "AWS::S3::Bucket" and "CorsConfiguration" in entry["Properties"]
    }
    assert rules == {"bucket": [{"AllowedMethods": ["POST"], "AllowedOrigins": origins}]}


def test_only_files_of_the_page_are_deployed(tmp_path: Path) -> None:
    folder = tmp_path / "web"
    (folder / "notes").mkdir(parents=True)
    for name in ("index.html", "app.js", "style.css", "icon.svg", "app.js~", ".env", "README.md", "notes/app.js"):
        (folder / name).touch()
    stack = Stack(App(outdir=str(tmp_path / "out")), "Stack")
    asset = Asset(stack, "Asset", path=str(folder), exclude=NOT_DEPLOYED)
    staged = tmp_path / "out" / Path(asset.asset_path).name
    files = {str(path.relative_to(staged)) for path in staged.rglob("*") if path.is_file()}
    assert files == {"index.html", "app.js", "style.css", "icon.svg"}


def test_with_cloudfront_functions_know_its_domain(resources: Resources) -> None:
    for name in ("status", "cancel", "gallery"):
        domain = resources.function(name)["Environment"]["Variables"]["CLOUDFRONT_DOMAIN"]
        assert domain["Fn::GetAtt"][1] == "DomainName"


@pytest.mark.parametrize(
    ("settings", "type_"),
    [
        ({"apiAuth": "iam"}, "AWS_IAM"),
        ({"apiAuth": "jwt", "jwtIssuer": "https://issuer.example", "jwtAudience": "client"}, "JWT"),
    ],
    ids=str,
)
def test_only_the_catch_all_route_is_open(synthesize: Synthesize, settings: dict[str, str], type_: str) -> None:
    """A browser's preflight carries no credentials; the catch-all route answers it, and else only 404."""
    resources = Resources(synthesize(**settings))
    types = {r["RouteKey"]: r.get("AuthorizationType", "NONE") for r in resources.of_type("AWS::ApiGatewayV2::Route")}
    assert types.pop("$default") == "NONE"
    assert len(types) == 10
    assert set(types.values()) == {type_}
    # The page has no credentials to call with.
    assert not resources.of_type("Custom::CDKBucketDeployment")
    for authorizer in resources.of_type("AWS::ApiGatewayV2::Authorizer"):
        assert authorizer["JwtConfiguration"] == {"Audience": ["client"], "Issuer": "https://issuer.example"}
        assert authorizer["IdentitySource"] == ["$request.header.Authorization"]


def test_reserved_concurrency_is_for_generate_alone_and_off_by_default(synthesize: Synthesize) -> None:
    def reserved(resources: Resources) -> dict[str, int]:
        name = "ReservedConcurrentExecutions"
        return {f["FunctionName"]: f[name] for f in resources.of_type("AWS::Lambda::Function") if name in f}

    assert reserved(Resources(synthesize())) == {}
    assert reserved(Resources(synthesize(reservedConcurrency=20))) == {"pixel-prompt-dev-generate": 20}


def test_the_page_may_call_wherever_origins_are_limited(synthesize: Synthesize) -> None:
    resources = Resources(synthesize(corsOrigins="https://example.com"))
    for name in ("submit", "status", "gallery"):
        origins = resources.text(resources.function(name)["Environment"]["Variables"]["CORS_ORIGINS"])
        assert re.fullmatch(r"https://example\.com,https://<?\w+>?", origins), origins


def test_the_page_is_told_where_the_api_is(resources: Resources) -> None:
    (deployment,) = resources.of_type("Custom::CDKBucketDeployment")
    assert resources.text(deployment["DestinationBucketName"]) == "page"
    assert resources.by_id[deployment["DistributionId"]["Ref"]]["Type"] == "AWS::CloudFront::Distribution"
    assert deployment["Prune"] is True


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"gallery": "public"}, {"gallery": True, "auth": "none", "usage": False}),
        ({"gallery": "off"}, {"gallery": False, "auth": "none", "usage": False}),
        ({"dailyBudget": "5"}, {"gallery": True, "auth": "none", "usage": True}),
        ({"apiAuth": "keys"}, {"gallery": True, "auth": "keys", "usage": True}),
    ],
    ids=str,
)
def test_the_page_is_told_what_the_api_has(given: dict[str, str], told: dict[str, Any]) -> None:
    with built({"stage": "dev", **given}) as app:
        (config,) = Path(app.outdir).glob("*/config.json")
        # The API's URL is known only at the deployment; until then a marker, which is not JSON, stands for it.
        settings = json.loads(re.sub("<<[^>]*>>", '"https://api.example"', config.read_text()))
        assert settings == {"apiUrl": "https://api.example", "statusWait": 0, **told}


@pytest.mark.parametrize(
    ("settings", "policy", "emptied"),
    [({}, "Delete", 1), ({"stage": "prod"}, "RetainExceptOnCreate", 0), ({"target": "local"}, "Delete", 0)],
    ids=str,
)
def test_removal(synthesize: Synthesize, settings: dict[str, str], policy: str, emptied: int) -> None:
    # Without the page's bucket, which is filled anew by any deployment.
    template = synthesize(**settings, **({} if "target" in settings else {"cloudfront": "false"}))
    for type_ in ("AWS::S3::Bucket", "AWS::SecretsManager::Secret"):
        replaced = policy.removesuffix("ExceptOnCreate")
        template.all_resources(type_, {"DeletionPolicy": policy, "UpdateReplacePolicy": replaced})
    template.resource_count_is("Custom::S3AutoDeleteObjects", emptied)


def test_local_differs_only_where_the_emulator_does(synthesize: Synthesize) -> None:
    """Same resources with the same properties, but for what the emulator lacks: the custom resource that empties the
    bucket, saved queries, metric math; and the code, with its Python where Pillow needs a newer one.
    """
    aws = Resources(synthesize(cloudfront="false", statusWait=20)).by_id
    local = Resources(synthesize(target="local")).by_id
    extra = [entry for logical_id, entry in aws.items() if logical_id not in local]
    assert {entry["Type"] for entry in extra} == {
        "Custom::S3AutoDeleteObjects",
        "AWS::IAM::Role",
        "AWS::Lambda::Function",
        "AWS::Logs::QueryDefinition",
        "AWS::CloudWatch::Alarm",
    }
    assert all("Metrics" in entry["Properties"] for entry in extra if entry["Type"] == "AWS::CloudWatch::Alarm")
    assert not set(local) - set(aws)
    for logical_id, entry in local.items():
        if entry["Type"] == "AWS::Lambda::Function":
            for function in (entry, aws[logical_id]):
                function["Properties"].pop("Code")
                function["Properties"]["Environment"]["Variables"].pop("TRUST_BODY_IP", None)
                if function["Properties"]["Handler"] == "prepare_references.handler":
                    function["Properties"].pop("Runtime")
        if entry["Type"] not in ("AWS::S3::Bucket", "AWS::S3::BucketPolicy"):
            entry.pop("Metadata", None), aws[logical_id].pop("Metadata", None)
            assert entry == aws[logical_id], logical_id


@pytest.mark.parametrize("settings", [{}, {"stage": "prod"}, {"retentionDays": 90, "logRetentionDays": 731}], ids=str)
def test_secret_starts_empty_and_is_never_rewritten(synthesize: Synthesize, settings: dict[str, Any]) -> None:
    """CloudFormation writes the value when it changes in the template: it must be the same whatever the settings."""
    (secret,) = Resources(synthesize(**settings)).of_type("AWS::SecretsManager::Secret")
    assert secret["SecretString"] == "{}"
    assert "GenerateSecretString" not in secret


@pytest.mark.parametrize(
    "settings", [{"stage": "prod"}, {"stage": "prod", "cloudfront": False}, {"removalPolicy": "retain"}], ids=str
)
def test_what_outlives_the_stack_leaves_the_next_deployment_its_names(
    synthesize: Synthesize, settings: dict[str, Any]
) -> None:
    """A kept resource keeps its name, so it must not be a fixed one; and it must be possible to import it alone."""
    retained = retained_resources(synthesize(**settings))
    assert {entry["Type"] for entry in retained.values()} == {"AWS::S3::Bucket", "AWS::SecretsManager::Secret"}
    for logical_id, entry in retained.items():
        # Replaced in an update, it is kept as well.
        assert entry["DeletionPolicy"] == "RetainExceptOnCreate" and entry["UpdateReplacePolicy"] == "Retain"
        kind = entry["Type"].rpartition("::")[2]
        assert not {"Name", f"{kind}Name"} & set(entry["Properties"]), logical_id
        assert '"Ref"' not in json.dumps(entry) and '"Fn::' not in json.dumps(entry) and "DependsOn" not in entry


def test_nothing_outlives_a_stack_to_be_destroyed(template: Template) -> None:
    assert not retained_resources(template)


def test_the_documented_import_names_what_is_kept(synthesize: Synthesize) -> None:
    """Logical ids are contracts: a lost printout of `make destroy` must not lose the bucket."""
    page = (ROOT / "docs" / "how-to" / "operate.md").read_text(encoding="utf-8")
    (mapping,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert set(json.loads(mapping)) == set(retained_resources(synthesize(stage="prod")))


def retained_resources(template: Template) -> dict[str, dict[str, Any]]:
    """What stays when the stack goes, or when an update replaces it; by logical id."""

    def is_kept(entry: dict[str, Any]) -> bool:
        return any(entry.get(policy, "Delete") != "Delete" for policy in ("DeletionPolicy", "UpdateReplacePolicy"))

    return {name: entry for name, entry in Resources(template).by_id.items() if is_kept(entry)}


def test_the_secret_itself_is_nowhere_in_the_template(template: Template) -> None:
    assert "{{resolve:" not in json.dumps(template.to_json())


def test_broken_execution_runs_finish(resources: Resources) -> None:
    (rule,) = resources.of_type("AWS::Events::Rule")
    pattern = rule["EventPattern"]
    assert (pattern["source"], pattern["detail-type"]) == (["aws.states"], ["Step Functions Execution Status Change"])
    assert pattern["detail"]["status"] == ["FAILED", "TIMED_OUT", "ABORTED"]
    assert [resources.text(arn) for arn in pattern["detail"]["stateMachineArn"]] == ["machine"]
    (target,) = rule["Targets"]
    assert resources.text(target["Arn"]) == "pixel-prompt-dev-finish"
    assert resources.text(target["DeadLetterConfig"]["Arn"]) == "queue"
    assert target["RetryPolicy"]["MaximumRetryAttempts"] >= 3
    assert target["RetryPolicy"]["MaximumEventAgeInSeconds"] == 7200
    invokers = [p for p in resources.of_type("AWS::Lambda::Permission") if p["Principal"] == "events.amazonaws.com"]
    assert [resources.text(permission["FunctionName"]) for permission in invokers] == ["pixel-prompt-dev-finish"]


def test_what_finish_fails_at_reaches_the_queue_too(resources: Resources) -> None:
    (config,) = resources.of_type("AWS::Lambda::EventInvokeConfig")
    assert resources.text(config["FunctionName"]) == "pixel-prompt-dev-finish"
    assert list(config["DestinationConfig"]) == ["OnFailure"]
    assert resources.text(config["DestinationConfig"]["OnFailure"]["Destination"]) == "queue"
    assert (config["MaximumRetryAttempts"], config["MaximumEventAgeInSeconds"]) == (2, 7200)


def test_queue_keeps_events_and_raises_an_alarm(resources: Resources) -> None:
    (queue,) = resources.of_type("AWS::SQS::Queue")
    assert queue["MessageRetentionPeriod"] == 14 * 24 * 3600
    (policy,) = resources.of_type("AWS::SQS::QueuePolicy")
    statements = {statement["Effect"]: statement for statement in policy["PolicyDocument"]["Statement"]}
    assert statements["Deny"]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert statements["Allow"]["Principal"] == {"Service": "events.amazonaws.com"}
    (alarm,) = [a for a in resources.of_type("AWS::CloudWatch::Alarm") if a["AlarmName"].endswith("-unfinished-jobs")]
    assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/SQS", "ApproximateNumberOfMessagesVisible")
    assert [resources.text(dimension["Value"]) for dimension in alarm["Dimensions"]] == ["queue"]
    assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (1, "GreaterThanOrEqualToThreshold")


def test_routes(resources: Resources) -> None:
    integrations = {
        f"integrations/{logical_id}": resources.text(entry["Properties"]["IntegrationUri"])
        for logical_id, entry in resources.by_id.items()
        if entry["Type"] == "AWS::ApiGatewayV2::Integration"
    }
    routes = resources.of_type("AWS::ApiGatewayV2::Route")
    assert {route["RouteKey"]: integrations[resources.text(route["Target"])] for route in routes} == {
        "POST /generate": "pixel-prompt-dev-submit",
        "GET /status/{jobId}": "pixel-prompt-dev-status",
        "POST /enhance": "pixel-prompt-dev-enhance",
        "POST /uploads": "pixel-prompt-dev-upload",
        "GET /models": "pixel-prompt-dev-models",
        "GET /gallery/list": "pixel-prompt-dev-gallery",
        "GET /gallery/{galleryId}": "pixel-prompt-dev-gallery",
        "GET /openapi.json": "pixel-prompt-dev-status",
        "POST /cancel/{jobId}": "pixel-prompt-dev-cancel",
        "POST /retry/{jobId}": "pixel-prompt-dev-retry",
        "$default": "pixel-prompt-dev-status",
    }


@pytest.mark.parametrize("settings", [{}, {"cloudfront": "false"}, {"target": "local"}], ids=str)
def test_a_gallery_that_is_off_is_not_deployed(synthesize: Synthesize, settings: dict[str, str]) -> None:
    public, off = Resources(synthesize(**settings)), Resources(synthesize(gallery="off", **settings))
    gone = {logical_id: entry for logical_id, entry in public.by_id.items() if logical_id not in off.by_id}
    assert not set(off.by_id) - set(public.by_id)
    # The function's own, its routes with their permissions, and its alarm.
    assert {entry["Type"] for entry in gone.values()} == {
        "AWS::Lambda::Function",
        "AWS::IAM::Role",
        "AWS::IAM::Policy",
        "AWS::Logs::LogGroup",
        "AWS::ApiGatewayV2::Route",
        "AWS::ApiGatewayV2::Integration",
        "AWS::Lambda::Permission",
        "AWS::CloudWatch::Alarm",
    }
    keys = {entry["Properties"].get("RouteKey") for entry in gone.values()} - {None}
    assert keys == GALLERY_ROUTES
    # No dashboard, query, alarm or policy refers to what is not there.
    rest = json.dumps(off.by_id)
    assert not [logical_id for logical_id in gone if f'"{logical_id}"' in rest]
    assert "pixel-prompt-dev-gallery" not in rest


@pytest.mark.parametrize(
    ("settings", "gallery"),
    [
        ({}, "public"),
        ({"target": "local"}, "public"),
        ({"gallery": "off"}, "off"),
        ({"stage": "prod"}, "owner"),
        ({"stage": "prod", "apiAuth": "none", "allowPublic": "true"}, "off"),
        ({"stage": "prod", "gallery": "public"}, "public"),
    ],
    ids=str,
)
def test_the_stage_decides_whether_there_is_a_gallery(
    synthesize: Synthesize, settings: dict[str, str], gallery: str
) -> None:
    resources = Resources(synthesize(**settings))
    keys = {route["RouteKey"] for route in resources.of_type("AWS::ApiGatewayV2::Route")}
    assert keys & GALLERY_ROUTES == (GALLERY_ROUTES if gallery != "off" else set())
    told = {
        function["FunctionName"].removeprefix(f"pixel-prompt-{settings.get('stage', 'dev')}-"): variables["GALLERY"]
        for function in resources.of_type("AWS::Lambda::Function")
        if "GALLERY" in (variables := function.get("Environment", {}).get("Variables", {}))
    }
    readers = {"status", "prepare-references", *(["gallery"] if gallery != "off" else [])}
    assert told == dict.fromkeys(readers, gallery)


def test_the_api_may_invoke_every_function_that_a_route_names(resources: Resources) -> None:
    """The emulator asks for no permission."""
    integrations = resources.of_type("AWS::ApiGatewayV2::Integration")
    named = {name for i in integrations for name in FUNCTIONS if f"-{name}" in resources.text(i["IntegrationUri"])}
    permissions = resources.of_type("AWS::Lambda::Permission")
    allowed = {resources.text(p["FunctionName"]) for p in permissions if p["Principal"] == "apigateway.amazonaws.com"}
    assert allowed == {f"pixel-prompt-dev-{name}" for name in named}
    assert named == set(FUNCTIONS) - TASKS


def test_preflights_reach_the_functions(resources: Resources) -> None:
    (api,) = resources.of_type("AWS::ApiGatewayV2::Api")
    assert "CorsConfiguration" not in api


def test_api_is_throttled_and_logged(synthesize: Synthesize) -> None:
    resources = Resources(synthesize(throttleRate=5, throttleBurst=8))
    (stage,) = resources.of_type("AWS::ApiGatewayV2::Stage")
    assert stage["DefaultRouteSettings"] == {"ThrottlingRateLimit": 5, "ThrottlingBurstLimit": 8}
    assert (stage["StageName"], stage["AutoDeploy"]) == ("$default", True)
    logs = stage["AccessLogSettings"]
    assert resources.text(logs["DestinationArn"]) == "/aws/vendedlogs/apigateway/pixel-prompt-dev"
    written = json.loads(logs["Format"])
    assert {"requestId", "ip", "routeKey", "status", "latency", "integrationError"} <= set(written)
    # A route's key has names in place of ids; paths, queries and bodies are the callers' own.
    assert not [variable for variable in written.values() if re.search("path|query|body|protocol", variable)]


OUTPUTS = {"ApiUrl", "ApiId", "BucketName", "StateMachineArn", "ProviderSecretArn", "Gallery", "ApiAuth"}


@pytest.mark.parametrize(
    ("settings", "auth", "gallery", "more"),
    [
        ({}, "none", "public", ["PageUrl"]),
        ({"apiAuth": "keys"}, "keys", "owner", ["PageUrl", "LedgerTable"]),
        ({"apiAuth": "keys", "target": "local"}, "keys", "owner", ["LedgerTable"]),
        ({"apiAuth": "iam", "limitStore": "dynamodb"}, "iam", "owner", ["LedgerTable"]),
    ],
    ids=str,
)
def test_outputs(synthesize: Synthesize, settings: dict[str, str], auth: str, gallery: str, more: list[str]) -> None:
    template = synthesize(**settings)
    outputs = template.to_json()["Outputs"]
    assert set(outputs) == OUTPUTS.union(more)
    assert (outputs["ApiAuth"]["Value"], outputs["Gallery"]["Value"]) == (auth, gallery)
    if "LedgerTable" in more:
        assert Resources(template).text(outputs["LedgerTable"]["Value"]) == "ledger"
    assert Resources(template).text(outputs["ProviderSecretArn"]["Value"]) == "secret"


def test_two_stages_share_no_name(synthesize: Synthesize) -> None:
    names = {"FunctionName", "LogGroupName", "StateMachineName", "Name"}

    def given(template: Template) -> set[str]:
        properties = [entry.get("Properties", {}) for entry in Resources(template).by_id.values()]
        return {entry[name] for entry in properties for name in names if isinstance(entry.get(name), str)}

    dev, prod = given(synthesize(apiAuth="iam")), given(synthesize(stage="prod", gallery="public"))
    assert len(dev) == len(prod) >= 16
    assert not dev & prod


def test_the_api_has_the_id_of_its_address_on_a_laptop(synthesize: Synthesize) -> None:
    url = "http://127.0.0.1:4566/_aws/execute-api/pixel-prompt"
    resources = Resources(synthesize(target="local", apiUrl=url))
    (api,) = resources.of_type("AWS::ApiGatewayV2::Api")
    assert api["Tags"]["ms-custom-id"] == "pixel-prompt"
    assert resources.function("submit")["Environment"]["Variables"]["API_URL"] == url
