"""Alarms, dashboard, saved queries and budget, as the template has them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from aws_cdk.assertions import Template

from infra.monitoring import NAMESPACE
from local.aws.deploy import FIXED_DOLLARS
from local.checks import synthesis
from pixelprompt import observability
from tests.infra.conftest import Synthesize

DOCS = Path(__file__).parents[2] / "docs"
ALARMS = (DOCS / "how-to" / "respond-to-alarms.md").read_text(encoding="utf-8")
COST = (DOCS / "explanation" / "cost.md").read_text(encoding="utf-8")
SERVICE = "pixel-prompt-dev"
# The alarms that only a budget has, and their metrics.
OF_BUDGETS = {"over-reserved": "OverReserved", "swept-reservations": "ReservationsSwept"}
# What else is only measured with budgets or API keys.
OF_USAGE = {"Images", "ReservedDollars", "Refusals"}


def alarms(template: Template) -> dict[str, dict[str, Any]]:
    """The properties of the alarms, by name without the service."""
    found = template.find_resources("AWS::CloudWatch::Alarm").values()
    return {entry["Properties"]["AlarmName"].removeprefix(f"{SERVICE}-"): entry["Properties"] for entry in found}


def metrics_of(alarm: dict[str, Any]) -> list[dict[str, Any]]:
    """The metrics that an alarm looks at, metric math or not."""
    if "Metrics" not in alarm:
        return [alarm]
    return [entry["MetricStat"]["Metric"] for entry in alarm["Metrics"] if "MetricStat" in entry]


def dashboard(template: Template) -> dict[str, Any]:
    """The dashboard's body; references are their text."""
    (board,) = template.find_resources("AWS::CloudWatch::Dashboard").values()
    parts = board["Properties"]["DashboardBody"]["Fn::Join"][1]
    text = "".join(part if isinstance(part, str) else "reference" for part in parts)
    body: dict[str, Any] = json.loads(text)
    return body


def test_what_matters_has_an_alarm(template: Template) -> None:
    functions = {entry["Properties"]["Handler"] for entry in template.find_resources("AWS::Lambda::Function").values()}
    own = {name.removesuffix(".handler").replace("_", "-") for name in functions if not name.startswith("index.")}
    assert set(alarms(template)) == {
        "executions-failed",
        "unfinished-jobs",
        "abandoned-jobs",
        "model-errors-some-model-1-0",
        "model-errors-other-model",
        *(f"function-errors-{name}" for name in own),
        "function-throttles-requests",
        "function-throttles-jobs",
        "submit-slow",
        "api-errors",
    }
    assert len(own) == 12


def test_every_alarm_reaches_the_topic_and_is_quiet_without_data(template: Template) -> None:
    (topic,) = template.find_resources("AWS::SNS::Topic")
    for name, alarm in alarms(template).items():
        assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": topic}], name
        assert alarm["TreatMissingData"] == "notBreaching", name


def test_every_alarm_has_a_section_that_says_what_to_do(synthesize: Synthesize) -> None:
    sections = re.findall(r"^## ([a-z-]+)$", ALARMS, re.MULTILINE)
    names = alarms(synthesize(dailySpendAlarm="5", dailyBudget="5"))
    for name, alarm in names.items():
        told = (
            alarm["AlarmDescription"].partition(" What to do: docs/how-to/respond-to-alarms.md, ")[2].removesuffix(".")
        )
        assert told in sections and (name == told or name.startswith(f"{told}-")), name
    for section in sections:
        assert any(name == section or name.startswith(f"{section}-") for name in names), section


def test_the_logs_that_the_operator_is_sent_to_exist(template: Template) -> None:
    found = template.find_resources("AWS::Logs::LogGroup").values()
    groups = {entry["Properties"].get("LogGroupName") for entry in found}
    named = re.findall(r"`(/aws/[^`]+)`", ALARMS)
    assert named
    assert {name.replace("{stage}", "dev") for name in named} <= groups


def test_no_alarm_looks_at_more_than_cloudwatch_lets_it(synthesize: Synthesize) -> None:
    """At most ten metrics in the metric math of an alarm (CloudWatch User Guide, "CloudWatch service quotas")."""
    all_alarms = alarms(synthesize(dailySpendAlarm="5", apiAuth="keys"))
    assert all(len(metrics_of(alarm)) <= 10 for alarm in all_alarms.values())


@pytest.mark.parametrize(
    ("settings", "more"), [({}, set()), ({"apiAuth": "keys"}, {"sweep"})], ids=["without keys", "with keys"]
)
def test_throttles_are_seen_of_every_function_once(
    synthesize: Synthesize, settings: dict[str, str], more: set[str]
) -> None:
    template = synthesize(**settings)

    def throttled(of: str) -> set[str]:
        metrics = metrics_of(alarms(template)[f"function-throttles-{of}"])
        assert {(metric["Namespace"], metric["MetricName"]) for metric in metrics} == {("AWS/Lambda", "Throttles")}
        return {dimension["Value"]["Ref"] for metric in metrics for dimension in metric["Dimensions"]}

    functions = template.find_resources("AWS::Lambda::Function")
    named = {id: str(entry["Properties"].get("FunctionName")) for id, entry in functions.items()}
    ours = {id: name.removeprefix("pixel-prompt-dev-") for id, name in named.items() if "pixel-prompt" in name}
    jobs, requests = throttled("jobs"), throttled("requests")
    assert {ours[id] for id in jobs} == {"prepare-references", "generate", "record-failure", "finish", *more}
    assert jobs | requests == set(ours) and not jobs & requests


def test_alarms_look_only_at_what_the_functions_measure(synthesize: Synthesize) -> None:
    own = [
        metric
        for alarm in alarms(synthesize(dailySpendAlarm="5", dailyBudget="5")).values()
        for metric in metrics_of(alarm)
        if metric["Namespace"] == NAMESPACE
    ]
    assert {metric["MetricName"] for metric in own} == {
        "JobsAbandoned", "ModelsFailed", "ModelsCompleted", "Dollars", *OF_BUDGETS.values(),
    }  # fmt: skip
    for metric in own:
        dimensions = {entry["Name"]: entry["Value"] for entry in metric["Dimensions"]}
        expected = observability.METRICS[metric["MetricName"]][1]
        assert set(dimensions) == {"service", *([expected] if expected else [])}
        assert dimensions["service"] == SERVICE


def test_the_functions_measure_under_the_name_that_is_watched(template: Template) -> None:
    assert observability.NAMESPACE == NAMESPACE
    for function in template.find_resources("AWS::Lambda::Function").values():
        variables = function["Properties"].get("Environment", {}).get("Variables", {})
        if "BUCKET_NAME" in variables:
            assert variables["POWERTOOLS_SERVICE_NAME"] == SERVICE


@pytest.mark.parametrize(
    ("settings", "absent"), [({}, {*OF_BUDGETS.values(), *OF_USAGE}), ({"dailyBudget": "5"}, set())]
)
def test_the_dashboard_shows_every_metric(synthesize: Synthesize, settings: dict[str, str], absent: set[str]) -> None:
    text = json.dumps(dashboard(synthesize(**settings)))
    shown = set(re.findall(r'MetricName=\\+"(\w+)', text)) | set(re.findall(rf'"{NAMESPACE}", "(\w+)"', text))
    # These are shown by model, which adds up to them, or watched by an alarm.
    assert shown == set(observability.METRICS) - {"Dollars", "JobsAbandoned"} - absent
    for name, dimension in re.findall(r'\{PixelPrompt,(\w+),service\} MetricName=\\+"(\w+)', text):
        assert observability.METRICS[dimension][1] == name


@pytest.mark.parametrize(("settings", "number"), [({}, 18), ({"dailyBudget": "5"}, 21)])
def test_widgets_do_not_overlap(synthesize: Synthesize, settings: dict[str, str], number: int) -> None:
    places = [(widget["x"], widget["y"]) for widget in dashboard(synthesize(**settings))["widgets"]]
    assert len(places) == len(set(places)) == number


@pytest.mark.parametrize("settings", [{"dailyBudget": "5"}, {"target": "local", "monthlyBudget": "5"}], ids=str)
def test_only_a_budget_has_its_alarms(template: Template, synthesize: Synthesize, settings: dict[str, str]) -> None:
    own = {*OF_BUDGETS, "function-errors-sweep"}
    assert not own & set(alarms(template))
    found = alarms(synthesize(**settings))
    assert own <= set(found)
    for name, metric in OF_BUDGETS.items():
        alarm = found[name]
        assert (alarm["Namespace"], alarm["MetricName"], alarm["Statistic"]) == (NAMESPACE, metric, "Sum")
        assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (1, "GreaterThanOrEqualToThreshold")


def test_throttles_of_the_sweep_are_seen(synthesize: Synthesize) -> None:
    with_budget = synthesize(dailyBudget="5")
    functions = with_budget.find_resources("AWS::Lambda::Function")
    metrics = metrics_of(alarms(with_budget)["function-throttles-jobs"])
    names = {functions[d["Value"]["Ref"]]["Properties"]["FunctionName"] for m in metrics for d in m["Dimensions"]}
    assert f"{SERVICE}-sweep" in names


def test_saved_queries_read_all_functions_and_the_one_of_a_job_the_state_machine_too(template: Template) -> None:
    groups = {
        logical_id: entry["Properties"]["LogGroupName"]
        for logical_id, entry in template.find_resources("AWS::Logs::LogGroup").items()
        if "LogGroupName" in entry["Properties"]
    }
    read = {
        query["Properties"]["Name"].partition("/")[2]: {
            groups[name["Ref"]] for name in query["Properties"]["LogGroupNames"]
        }
        for query in template.find_resources("AWS::Logs::QueryDefinition").values()
    }
    functions = {name for name in groups.values() if name.startswith("/aws/lambda/pixel-prompt-dev-")}
    assert len(functions) == 12
    machine = "/aws/vendedlogs/states/pixel-prompt-dev-generate-images"
    assert read.pop("everything about one job") == functions | {machine}
    assert {"unexpected errors", "failures by model and code"} <= set(read)
    assert all(names == functions for names in read.values())


def test_the_document_tells_what_alarms_and_metrics_cost() -> None:
    with_default_models = Template.from_json(synthesis.template({"stage": "dev"}))
    watched = sum(len(metrics_of(alarm)) for alarm in alarms(with_default_models).values())
    assert f"$0.10 for each of the {watched} metrics that they look at" in COST
    # By their dimension. A service shows four statuses and about six codes, and refuses prompts for some reasons.
    values = {None: 1, "model": 9, "status": 4, "errorCode": 6, "category": 2, "scope": 3, "document": 2}
    # Without a budget.
    only_then = OF_USAGE.union(OF_BUDGETS.values())
    metrics = {name: kind for name, kind in observability.METRICS.items() if name not in only_then}
    published = sum(values[dimension] for _, dimension in metrics.values())
    assert f"about {round(published, -1)} with nine models" in COST
    # The secret, the alarms, the dashboard, the metrics.
    dollars = 0.40 + 0.10 * watched + 3 + 0.30 * published
    assert f"together about ${FIXED_DOLLARS}." in COST.replace("\n", " ")
    assert dollars == pytest.approx(FIXED_DOLLARS, abs=0.5)


def test_alarms_go_to_the_address_of_the_settings(template: Template, synthesize: Synthesize) -> None:
    template.resource_count_is("AWS::SNS::Subscription", 0)
    with_address = synthesize(alarmEmail="owner@example.com")
    with_address.has_resource_properties(
        "AWS::SNS::Subscription", {"Protocol": "email", "Endpoint": "owner@example.com"}
    )


def test_only_this_accounts_alarms_may_publish_and_only_over_tls(synthesize: Synthesize) -> None:
    (policy,) = synthesize(dailySpendAlarm="5").find_resources("AWS::SNS::TopicPolicy").values()
    statements = policy["Properties"]["PolicyDocument"]["Statement"]
    (allowed,) = [s for s in statements if s["Effect"] == "Allow"]
    assert allowed["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    assert allowed["Action"] == "sns:Publish"
    assert set(allowed["Principal"]["Service"]) == {"cloudwatch.amazonaws.com", "budgets.amazonaws.com"}
    (denied,) = [s for s in statements if s["Effect"] == "Deny"]
    assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_an_alarm_watches_what_aws_and_the_providers_charge(template: Template, synthesize: Synthesize) -> None:
    template.resource_count_is("AWS::Budgets::Budget", 0)
    assert "provider-spend" not in alarms(template)
    with_alarm = synthesize(dailySpendAlarm="12.5")
    alarm = alarms(with_alarm)["provider-spend"]
    assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (12.5, "GreaterThanThreshold")
    assert (alarm["Period"], alarm["Statistic"]) == (86400, "Sum")
    (budget,) = with_alarm.find_resources("AWS::Budgets::Budget").values()
    assert budget["Properties"]["Budget"]["BudgetLimit"] == {"Amount": 12.5, "Unit": "USD"}


def test_the_emulator_gets_what_it_knows(synthesize: Synthesize) -> None:
    local = synthesize(target="local", dailySpendAlarm="5")
    local.resource_count_is("AWS::Budgets::Budget", 0)
    local.resource_count_is("AWS::Logs::QueryDefinition", 0)
    assert not any("Metrics" in alarm for alarm in alarms(local).values())
    assert {"unfinished-jobs", "submit-slow", "provider-spend"} <= set(alarms(local))


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_stages_of_an_account_do_not_share_names(synthesize: Synthesize, stage: str) -> None:
    template = synthesize(stage=stage)
    for alarm in template.find_resources("AWS::CloudWatch::Alarm").values():
        assert alarm["Properties"]["AlarmName"].startswith(f"pixel-prompt-{stage}-")
    template.has_resource_properties("AWS::CloudWatch::Dashboard", {"DashboardName": f"pixel-prompt-{stage}"})
