"""What the template holds: permissions, settings, expiry, the failure rule, routes, outputs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from aws_cdk.assertions import Match, Template

from .conftest import ROOT, Synthesise

FUNCTIONS = (
    "submit", "generate", "record-failure", "finish", "status", "enhance", "models", "cancel", "retry", "gallery",
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

Grant = tuple[str, str, tuple[str, ...]]
"""An action, a resource and the key prefixes that it is limited to."""


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


class Resources:
    """A template's resources under the names that a reader knows them by."""

    def __init__(self, template: Template) -> None:
        self.by_id: dict[str, dict[str, Any]] = template.to_json()["Resources"]
        self.names = {logical_id: self._name(logical_id, entry) for logical_id, entry in self.by_id.items()}

    def _name(self, logical_id: str, entry: dict[str, Any]) -> str:
        properties = entry.get("Properties", {})
        return {
            "AWS::S3::Bucket": "bucket",
            "AWS::SecretsManager::Secret": "secret",
            "AWS::StepFunctions::StateMachine": "machine",
            "AWS::SQS::Queue": "queue",
        }.get(entry["Type"]) or str(properties.get("FunctionName") or properties.get("LogGroupName") or logical_id)

    def of_type(self, type_: str) -> list[dict[str, Any]]:
        return [entry["Properties"] for entry in self.by_id.values() if entry["Type"] == type_]

    def text(self, value: Any) -> str:
        """A value as text, with references as the names of what they refer to."""
        if isinstance(value, str):
            return value
        ((function, argument),) = value.items()
        if function == "Fn::Join":
            return str(argument[0]).join(self.text(part) for part in argument[1])
        return self.names.get(argument[0] if function == "Fn::GetAtt" else argument, f"<{argument}>")

    def function(self, name: str) -> dict[str, Any]:
        (found,) = [
            p for p in self.of_type("AWS::Lambda::Function") if p.get("FunctionName") == f"pixel-prompt-dev-{name}"
        ]
        return found

    def grants(self, role: Any) -> set[Grant]:
        """What the policies attached to a role allow."""
        role_id = role["Fn::GetAtt"][0]
        assert "ManagedPolicyArns" not in self.by_id[role_id]["Properties"]
        grants = set()
        for policy in self.of_type("AWS::IAM::Policy"):
            if {"Ref": role_id} in policy["Roles"]:
                for statement in policy["PolicyDocument"]["Statement"]:
                    assert statement["Effect"] == "Allow"
                    prefixes = tuple(sorted(statement.get("Condition", {}).get("StringLike", {}).get("s3:prefix", [])))
                    assert not prefixes or set(statement["Condition"]) == {"StringLike"}
                    for action in _listed(statement["Action"]):
                        grants |= {(action, self.text(r), prefixes) for r in _listed(statement["Resource"])}
        return grants


@pytest.fixture(scope="module")
def resources(template: Template) -> Resources:
    return Resources(template)


def _objects(actions: str, *keys: str) -> set[Grant]:
    return {(f"s3:{action}Object", f"bucket/{key}", ()) for action in actions.split() for key in keys}


def _list(*prefixes: str) -> set[Grant]:
    return {("s3:ListBucket", "bucket", tuple(sorted(prefixes)))}


READ_MODELS: set[Grant] = {("secretsmanager:GetSecretValue", "secret", ()), *_objects("Get", "config/models.json")}
STATUS = "jobs/*/status.json"
EXECUTIONS = (
    "arn:<AWS::Partition>:states:<AWS::Region>:<AWS::AccountId>:execution:pixel-prompt-dev-generate-images:*"
)

GRANTS: dict[str, set[Grant]] = {
    "submit": _objects("Get Put", STATUS, "rate-limit/ratelimit.json", "idempotency/*")
    | _list("rate-limit/*", "jobs/*", "config/*", "idempotency/*")
    | READ_MODELS
    | {("states:StartExecution", "machine", ())},
    "generate": _objects("Get Put", STATUS)
    | _objects("Put", "jobs/*/resume/*")
    | _objects("Put", "group-images/*", "images/*", "gallery-index/*")
    | _list("jobs/*", "config/*")
    | READ_MODELS
    | {("bedrock:InvokeModel", "arn:aws:bedrock:us-west-2::foundation-model/some.model-v1:0", ())},
    "record-failure": _objects("Get Put", STATUS)
    | _objects("Get", "jobs/*/resume/*")
    | _list("jobs/*", "images/*", "group-images/*"),
    "finish": _objects("Get Put", STATUS)
    | _list("jobs/*", "images/*", "group-images/*")
    | {(f"sqs:{action}", "queue", ()) for action in ("SendMessage", "GetQueueAttributes", "GetQueueUrl")},
    "status": _objects("Get", STATUS, "images/*")
    | _list("jobs/*")
    | {("lambda:InvokeFunction", "pixel-prompt-dev-finish", ())},
    "enhance": _objects("Get Put", "enhanced/*") | _list("enhanced/*", "config/*") | READ_MODELS,
    "models": _list("config/*") | READ_MODELS,
    "gallery": _objects("Get", STATUS, "images/*") | _list("gallery-index/*", "jobs/*", "images/*", "group-images/*"),
    "cancel": _objects("Get Put", STATUS)
    | _objects("Get", "images/*")
    | _list("jobs/*")
    | {("states:StopExecution", EXECUTIONS, ())},
    "retry": _objects("Get Put", STATUS, "rate-limit/ratelimit.json")
    | _objects("Get", "jobs/*/resume/*")
    | _list("rate-limit/*", "jobs/*", "images/*", "group-images/*")
    | {("states:StartExecution", "machine", ())},
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_may_do_exactly_this(resources: Resources, name: str) -> None:
    own_logs = {(f"logs:{a}", f"/aws/lambda/pixel-prompt-dev-{name}", ()) for a in ("CreateLogStream", "PutLogEvents")}
    traces = {(action, "*", ()) for action in TRACE}
    assert resources.grants(resources.function(name)["Role"]) == GRANTS[name] | own_logs | traces


def test_every_function_has_its_own_role(resources: Resources) -> None:
    assert len({json.dumps(resources.function(name)["Role"]) for name in FUNCTIONS}) == len(FUNCTIONS)


def test_machine_may_invoke_its_three_functions_only(resources: Resources) -> None:
    (machine,) = resources.of_type("AWS::StepFunctions::StateMachine")
    narrow = {grant for grant in resources.grants(machine["RoleArn"]) if grant[1] != "*"}
    tasks = ("generate", "record-failure", "finish")
    assert narrow == {("lambda:InvokeFunction", f"pixel-prompt-dev-{name}", ()) for name in tasks}


@pytest.mark.parametrize("settings", [{}, {"stage": "prod"}, {"target": "local"}], ids=str)
def test_no_policy_is_wider_than_it_must_be(synthesise: Synthesise, settings: dict[str, str]) -> None:
    resources = Resources(synthesise(**settings))
    for policy in resources.of_type("AWS::IAM::Policy"):
        for statement in policy["PolicyDocument"]["Statement"]:
            actions = set(_listed(statement["Action"]))
            assert not any("*" in action for action in actions)
            if "*" in _listed(statement["Resource"]):
                assert actions <= LOGS_DELIVERY | TRACE | {"xray:GetSamplingRules", "xray:GetSamplingTargets"}


COMMON = {"LOG_LEVEL", "POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE", "BUCKET_NAME"}
ENVIRONMENT = {
    "submit": {
        "STATE_MACHINE_ARN", "PROVIDER_SECRET", "PROVIDER_ENDPOINTS", "GLOBAL_LIMIT", "IP_LIMIT", "IP_INCLUDE",
        "TRUST_BODY_IP", "API_URL", "CORS_ORIGINS", "MODERATION",
    },
    "generate": {"PROVIDER_SECRET", "PROVIDER_ENDPOINTS"},
    "record-failure": set(),
    "finish": set(),
    "status": {"FINISH_FUNCTION", "CORS_ORIGINS", "CLOUDFRONT_DOMAIN", "LONGEST_JOB"},
    "enhance": {"PROVIDER_SECRET", "PROVIDER_ENDPOINTS", "PROMPT_MODEL_INDEX", "CORS_ORIGINS", "MODERATION"},
    "models": {"PROVIDER_SECRET", "PROVIDER_ENDPOINTS", "PROMPT_MODEL_INDEX", "CORS_ORIGINS"},
    "gallery": {"CLOUDFRONT_DOMAIN", "CORS_ORIGINS"},
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


def test_settings_reach_the_functions(synthesise: Synthesise) -> None:
    resources = Resources(
        synthesise(
            target="local", globalLimit=7, ipLimit=3, ipInclude="192.0.2.7", logLevel="DEBUG", promptModelIndex=2,
            maxConcurrency=4, corsOrigins="https://example.com", providerEndpoints='{"openai": "http://127.0.0.1:1"}',
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
    enhance = resources.function("enhance")["Environment"]["Variables"]
    assert (enhance["PROMPT_MODEL_INDEX"], enhance["CORS_ORIGINS"]) == ("2", "https://example.com")
    (machine,) = resources.of_type("AWS::StepFunctions::StateMachine")
    states = json.loads(machine["DefinitionString"])["States"].values()
    assert [state["MaxConcurrency"] for state in states if state["Type"] == "Map"] == [4]


def test_functions_run_on_arm_with_logs_and_traces(resources: Resources) -> None:
    for name in FUNCTIONS:
        function = resources.function(name)
        assert (function["Runtime"], function["Architectures"]) == ("python3.13", ["arm64"])
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
    assert set(limits) == {f"pixel-prompt-dev-{name}" for name in ("generate", "record-failure", "finish")}
    for name, limit in limits.items():
        assert (
            resources.function(name.removeprefix("pixel-prompt-dev-"))["Timeout"] < limit < definition["TimeoutSeconds"]
        )


def test_answers_come_before_the_api_gives_up(resources: Resources) -> None:
    assert {name: resources.function(name)["Timeout"] for name in ("submit", "status", "enhance")} == {
        "submit": 15,
        "status": 15,
        "enhance": 28,
    }


def test_definition_is_the_file(resources: Resources) -> None:
    (machine,) = resources.of_type("AWS::StepFunctions::StateMachine")
    deployed = json.loads(machine["DefinitionString"])
    written = json.loads((ROOT / "statemachine" / "generate_images.asl.json").read_text())
    # Forty models, nine at once: five waves.
    assert deployed.pop("TimeoutSeconds") == 480 + 5 * 420
    assert written.pop("TimeoutSeconds") == 900
    for definition in (deployed, written):
        for state in definition["States"].values():
            state.pop("MaxConcurrency", None)
    assert deployed == written
    assert set(re.findall(r"\$\{(\w+)\}", machine["DefinitionString"])) == set(machine["DefinitionSubstitutions"])


def test_a_placeholder_without_a_value_is_refused(synthesise: Synthesise, monkeypatch: Any, tmp_path: Path) -> None:
    definition = tmp_path / "broken.asl.json"
    definition.write_text('{"States": {"Call": {"Type": "Task", "Resource": "${GenerateFuntionArn}"}}}')
    monkeypatch.setattr("infra.workflow.DEFINITION", definition)
    with pytest.raises(ValueError, match=r"^broken\.asl\.json has the placeholders GenerateFuntionArn; it must"):
        synthesise(ipLimit=1)


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


def test_every_log_group_expires(synthesise: Synthesise) -> None:
    groups = Resources(synthesise(logRetentionDays=731, retentionDays=90)).of_type("AWS::Logs::LogGroup")
    assert {group["LogGroupName"]: group["RetentionInDays"] for group in groups} == {
        **{f"/aws/lambda/pixel-prompt-dev-{name}": 731 for name in FUNCTIONS},
        "/aws/vendedlogs/states/pixel-prompt-dev-generate-images": 731,
        "/aws/vendedlogs/apigateway/pixel-prompt-dev": 731,
    }


def test_objects_expire(synthesise: Synthesise) -> None:
    (bucket,) = Resources(synthesise(logRetentionDays=731, retentionDays=90)).of_type("AWS::S3::Bucket")
    rules = bucket["LifecycleConfiguration"]["Rules"]
    assert all(rule["Status"] == "Enabled" for rule in rules)
    assert {rule["Prefix"]: rule["ExpirationInDays"] for rule in rules if "Prefix" in rule} == {
        "jobs/": 90,
        "group-images/": 90,
        "images/": 90,
        "gallery-index/": 90,
        "enhanced/": 7,
        "rate-limit/": 2,
        "idempotency/": 2,
    }
    assert {"DaysAfterInitiation": 1} in [rule.get("AbortIncompleteMultipartUpload") for rule in rules]


def test_bucket_is_private(resources: Resources, template: Template) -> None:
    (bucket,) = resources.of_type("AWS::S3::Bucket")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    (encryption,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    without_tls = {"Effect": "Deny", "Action": "s3:*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    template.has_resource_properties(
        "AWS::S3::BucketPolicy",
        {"PolicyDocument": {"Statement": Match.array_with([Match.object_like(without_tls)])}},
    )


@pytest.mark.parametrize(
    ("settings", "policy", "emptied"),
    [({}, "Delete", 1), ({"stage": "prod"}, "RetainExceptOnCreate", 0), ({"target": "local"}, "Delete", 0)],
    ids=str,
)
def test_removal(synthesise: Synthesise, settings: dict[str, str], policy: str, emptied: int) -> None:
    template = synthesise(**settings)
    for type_ in ("AWS::S3::Bucket", "AWS::SecretsManager::Secret"):
        replaced = policy.removesuffix("ExceptOnCreate")
        template.all_resources(type_, {"DeletionPolicy": policy, "UpdateReplacePolicy": replaced})
    template.resource_count_is("Custom::S3AutoDeleteObjects", emptied)


def test_local_differs_only_where_the_emulator_does(synthesise: Synthesise, template: Template) -> None:
    """Same resources with the same properties, but for the custom resource that empties the bucket and the code."""
    aws, local = Resources(template).by_id, Resources(synthesise(target="local")).by_id
    extra = {entry["Type"] for logical_id, entry in aws.items() if logical_id not in local}
    assert extra == {"Custom::S3AutoDeleteObjects", "AWS::IAM::Role", "AWS::Lambda::Function"}
    assert not set(local) - set(aws)
    for logical_id, entry in local.items():
        if entry["Type"] == "AWS::Lambda::Function":
            for function in (entry, aws[logical_id]):
                function["Properties"].pop("Code")
                function["Properties"]["Environment"]["Variables"].pop("TRUST_BODY_IP", None)
        if entry["Type"] not in ("AWS::S3::Bucket", "AWS::S3::BucketPolicy"):
            entry.pop("Metadata", None), aws[logical_id].pop("Metadata", None)
            assert entry == aws[logical_id], logical_id


@pytest.mark.parametrize("settings", [{}, {"stage": "prod"}, {"retentionDays": 90, "logRetentionDays": 731}], ids=str)
def test_secret_starts_empty_and_is_never_rewritten(synthesise: Synthesise, settings: dict[str, Any]) -> None:
    """CloudFormation writes the value when it changes in the template: it must be the same whatever the settings."""
    (secret,) = Resources(synthesise(**settings)).of_type("AWS::SecretsManager::Secret")
    stage = settings.get("stage", "dev")
    assert secret["SecretString"] == "{}"
    assert secret["Name"] == f"pixel-prompt-{stage}/provider-keys"
    assert "GenerateSecretString" not in secret


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
    assert resources.text(config["DestinationConfig"]["OnFailure"]["Destination"]) == "queue"


def test_queue_keeps_events_and_raises_an_alarm(resources: Resources) -> None:
    (queue,) = resources.of_type("AWS::SQS::Queue")
    assert queue["MessageRetentionPeriod"] == 14 * 24 * 3600
    (policy,) = resources.of_type("AWS::SQS::QueuePolicy")
    statements = {statement["Effect"]: statement for statement in policy["PolicyDocument"]["Statement"]}
    assert statements["Deny"]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert statements["Allow"]["Principal"] == {"Service": "events.amazonaws.com"}
    (alarm,) = resources.of_type("AWS::CloudWatch::Alarm")
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
        "GET /models": "pixel-prompt-dev-models",
        "GET /gallery/list": "pixel-prompt-dev-gallery",
        "GET /gallery/{galleryId}": "pixel-prompt-dev-gallery",
        "GET /openapi.json": "pixel-prompt-dev-status",
        "POST /cancel/{jobId}": "pixel-prompt-dev-cancel",
        "POST /retry/{jobId}": "pixel-prompt-dev-retry",
        "$default": "pixel-prompt-dev-status",
    }


def test_preflights_reach_the_functions(resources: Resources) -> None:
    (api,) = resources.of_type("AWS::ApiGatewayV2::Api")
    assert "CorsConfiguration" not in api


def test_api_is_throttled_and_logged(synthesise: Synthesise) -> None:
    resources = Resources(synthesise(throttleRate=5, throttleBurst=8))
    (stage,) = resources.of_type("AWS::ApiGatewayV2::Stage")
    assert stage["DefaultRouteSettings"] == {"ThrottlingRateLimit": 5, "ThrottlingBurstLimit": 8}
    assert (stage["StageName"], stage["AutoDeploy"]) == ("$default", True)
    logs = stage["AccessLogSettings"]
    assert resources.text(logs["DestinationArn"]) == "/aws/vendedlogs/apigateway/pixel-prompt-dev"
    assert {"requestId", "ip", "routeKey", "status", "latency", "integrationError"} <= set(json.loads(logs["Format"]))


def test_outputs(template: Template) -> None:
    outputs = template.to_json()["Outputs"]
    assert set(outputs) == {"ApiUrl", "ApiId", "BucketName", "StateMachineArn", "ProviderSecretName"}
    assert outputs["ProviderSecretName"]["Value"] == "pixel-prompt-dev/provider-keys"


def test_two_stages_share_no_name(synthesise: Synthesise) -> None:
    names = {"FunctionName", "LogGroupName", "StateMachineName", "Name"}

    def given(template: Template) -> set[str]:
        properties = [entry.get("Properties", {}) for entry in Resources(template).by_id.values()]
        return {entry[name] for entry in properties for name in names if isinstance(entry.get(name), str)}

    dev, prod = given(synthesise()), given(synthesise(stage="prod"))
    assert len(dev) == len(prod) >= 16
    assert not dev & prod


def test_the_api_has_the_id_of_its_address_on_a_laptop(synthesise: Synthesise) -> None:
    url = "http://127.0.0.1:4566/_aws/execute-api/pixel-prompt"
    resources = Resources(synthesise(target="local", apiUrl=url))
    (api,) = resources.of_type("AWS::ApiGatewayV2::Api")
    assert api["Tags"]["ms-custom-id"] == "pixel-prompt"
    assert resources.function("submit")["Environment"]["Variables"]["API_URL"] == url
