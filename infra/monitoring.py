"""Monitoring of a deployment for its operator: a dashboard, alarms with a topic, saved queries, a budget."""

import re
from collections.abc import Sequence
from typing import cast

from aws_cdk import Aws, Duration
from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from infra.api import Api
from infra.functions import Functions
from infra.settings import Settings
from infra.workflow import Workflow
from pixelprompt.api.routes import ROUTES

NAMESPACE = "PixelPrompt"
MINUTES = Duration.minutes(5)
DAY = Duration.days(1)

# A submission that takes longer is no longer felt as "at once".
SLOW_SUBMIT = Duration.seconds(3)
# Percent of a model's attempts in a quarter of an hour, and the minimum number of attempts to judge by.
ERROR_SHARE = 50
FEWEST_TURNS = 5
SERVER_ERRORS = 5


class Monitoring(Construct):
    """Everything that watches; none of it is needed to run.

    Parameters
    ----------
    models : names of the models that have an alarm of their own
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        settings: Settings,
        functions: Functions,
        workflow: Workflow,
        api: Api,
        models: Sequence[str],
    ) -> None:
        super().__init__(scope, id)
        self._settings = settings
        self._prefix = f"pixel-prompt-{settings.stage}"
        self._functions = functions.all
        self.topic = sns.Topic(self, "Alarms", topic_name=f"{self._prefix}-alarms", enforce_ssl=True)
        self._let_publish("cloudwatch.amazonaws.com")
        if settings.alarm_email:
            self.topic.add_subscription(subscriptions.EmailSubscription(settings.alarm_email))

        self._watch_jobs(workflow)
        self._watch_models(models)
        self._watch_functions(functions, api)
        if settings.daily_spend_alarm:
            self._watch_spending(settings.daily_spend_alarm)
        if settings.has_charges:
            self._watch_budgets()
        if settings.target != "local":
            # The emulator's CloudFormation has no saved queries.
            self._save_queries(workflow)
        self._draw(workflow, api)

    def _let_publish(self, service: str) -> None:
        """Alarms and budgets of this account, and no other."""
        self.topic.add_to_resource_policy(
            iam.PolicyStatement(
                actions=["sns:Publish"],
                principals=[iam.ServicePrincipal(service)],
                resources=[self.topic.topic_arn],
                conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
            )
        )

    def _alarm(
        self,
        name: str,
        description: str,
        metric: cloudwatch.IMetric,
        threshold: float,
        *,
        of: str = "",
        periods: int = 1,
        above: bool = False,
    ) -> None:
        """An alarm at ``threshold`` or, with ``above``, over it, ``of`` one of several alike.

        ``docs/how-to/respond-to-alarms.md`` has a section of ``name``.
        """
        if self._settings.target == "local" and isinstance(metric, cloudwatch.MathExpression):
            # The emulator's alarms know no metric math.
            return
        comparison = cloudwatch.ComparisonOperator
        full_name = f"{name}-{of}" if of else name
        alarm = cloudwatch.Alarm(
            self,
            "".join(word.capitalize() for word in full_name.split("-")),
            alarm_name=f"{self._prefix}-{full_name}",
            alarm_description=f"{description} What to do: docs/how-to/respond-to-alarms.md, {name}.",
            metric=metric,
            threshold=threshold,
            evaluation_periods=periods,
            comparison_operator=comparison.GREATER_THAN_THRESHOLD
            if above
            else comparison.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        # The construct's own methods are variadic, which not every Python 3.11 lets through.
        resource = cast(cloudwatch.CfnAlarm, alarm.node.default_child)
        resource.alarm_actions = resource.ok_actions = [self.topic.topic_arn]

    def _own(
        self, name: str, period: Duration = MINUTES, *, statistic: str = "Sum", **dimension: str
    ) -> cloudwatch.Metric:
        """A metric of ``functions/pixelprompt/observability.py``."""
        return cloudwatch.Metric(
            namespace=NAMESPACE,
            metric_name=name,
            dimensions_map={"service": self._prefix, **dimension},
            statistic=statistic,
            period=period,
        )

    def _each(self, name: str, dimension: str, *, statistic: str = "Sum", label: str = "") -> cloudwatch.IMetric:
        """One line for every value of a dimension that has been seen."""
        search = f'{{{NAMESPACE},{dimension},service}} MetricName="{name}" service="{self._prefix}"'
        return cloudwatch.MathExpression(
            expression=f"SEARCH('{search}', '{statistic}')",
            label=f"{label} ${{PROP('Dim.{dimension}')}}".strip(),
            period=MINUTES,
            using_metrics={},
        )

    def _watch_jobs(self, workflow: Workflow) -> None:
        failed, timed_out = (
            workflow.machine.metric_failed(period=MINUTES),
            workflow.machine.metric_timed_out(period=MINUTES),
        )
        self._alarm(
            "executions-failed",
            "A job's execution failed or ran out of time.",
            cloudwatch.MathExpression(
                expression="failed + timedOut",
                using_metrics={"failed": failed, "timedOut": timed_out},
                period=MINUTES,
                label="failed or timed out",
            ),
            1,
        )
        self._alarm(
            "unfinished-jobs",
            "Some failed jobs could not be finalized; their events wait in the queue.",
            workflow.unfinished_jobs.metric_approximate_number_of_messages_visible(period=MINUTES, statistic="Maximum"),
            1,
        )
        self._alarm(
            "abandoned-jobs",
            "Jobs were found open long after their end, or never started.",
            self._own("JobsAbandoned"),
            1,
        )

    def _watch_models(self, models: Sequence[str]) -> None:
        quarter = Duration.minutes(15)
        for model in models:
            slug = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")
            self._alarm(
                "model-errors",
                f"At least {ERROR_SHARE} % of the turns of {model} fail.",
                cloudwatch.MathExpression(
                    expression=f"IF(failed + done >= {FEWEST_TURNS}, 100 * failed / (failed + done), 0)",
                    # Both are measured at each turn, one of them as 0.
                    using_metrics={
                        "failed": self._own("ModelsFailed", quarter, model=model),
                        "done": self._own("ModelsCompleted", quarter, model=model),
                    },
                    period=quarter,
                    label="% failed",
                ),
                ERROR_SHARE,
                of=slug,
            )

    def _watch_functions(self, functions: Functions, api: Api) -> None:
        for function in self._functions:
            self._alarm(
                "function-errors",
                f"{function.short_name} ended with an error that its code did not expect.",
                function.metric_errors(period=MINUTES),
                1,
                of=function.short_name,
            )
        of_requests = {*(route.function for route in ROUTES.values()), "authorize"}
        requests = [function for function in self._functions if function.short_name in of_requests]
        jobs = [function for function in self._functions if function not in requests]
        # The metric math of an alarm may have ten metrics.
        for of, throttled in (("requests", requests), ("jobs", jobs)):
            throttles = {
                f"m{number}": function.metric_throttles(period=MINUTES) for number, function in enumerate(throttled)
            }
            self._alarm(
                "function-throttles",
                f"Lambda throttled invocations of {of}: too little concurrency.",
                cloudwatch.MathExpression(
                    expression="SUM(METRICS())", using_metrics=dict(throttles), period=MINUTES, label="throttles"
                ),
                1,
                of=of,
                periods=3,
            )
        self._alarm(
            "submit-slow",
            f"One of a hundred submissions takes longer than {SLOW_SUBMIT.to_seconds():g} s.",
            functions.submit.metric_duration(period=MINUTES, statistic="p99"),
            SLOW_SUBMIT.to_milliseconds(),
            periods=3,
            above=True,
        )
        self._alarm(
            "api-errors",
            "The API returns 5xx.",
            api.http_api.metric_server_error(period=MINUTES, statistic="Sum"),
            SERVER_ERRORS,
        )

    def _watch_spending(self, dollars: float) -> None:
        self._alarm(
            "provider-spend",
            f"The providers' known costs of a day are above {dollars:g} US dollars.",
            self._own("Dollars", DAY),
            dollars,
            above=True,
        )
        if self._settings.target == "local":
            # Nor has it budgets.
            return
        self._let_publish("budgets.amazonaws.com")
        budgets.CfnBudget(
            self,
            "Budget",
            budget=budgets.CfnBudget.BudgetDataProperty(
                budget_name=f"{self._prefix}-daily",
                budget_type="COST",
                time_unit="DAILY",
                budget_limit=budgets.CfnBudget.SpendProperty(amount=dollars, unit="USD"),
            ),
            notifications_with_subscribers=[
                budgets.CfnBudget.NotificationWithSubscribersProperty(
                    notification=budgets.CfnBudget.NotificationProperty(
                        comparison_operator="GREATER_THAN",
                        notification_type="ACTUAL",
                        threshold=100,
                        threshold_type="PERCENTAGE",
                    ),
                    subscribers=[
                        budgets.CfnBudget.SubscriberProperty(address=self.topic.topic_arn, subscription_type="SNS")
                    ],
                )
            ],
        )

    def _watch_budgets(self) -> None:
        self._alarm(
            "over-reserved",
            "A provider charged more than was reserved of the budgets.",
            self._own("OverReserved"),
            1,
        )
        self._alarm(
            "swept-reservations",
            "Reservations were left behind and settled by the sweep.",
            self._own("ReservationsSwept"),
            1,
        )

    def _save_queries(self, workflow: Workflow) -> None:
        functions = [function.log_group.log_group_name for function in self._functions]
        turns = 'message = "The model\'s turn ended."'
        whole_job = "everything about one job"
        for name, query in (
            (
                whole_job,
                "fields @timestamp, function, type, model, level, message, error_code, seconds, @message\n"
                "| filter @message like /PASTE-THE-JOB-ID/\n| sort @timestamp\n| limit 1000",
            ),
            (
                "everything about one request",
                "fields @timestamp, function, model, level, message, status, @message\n"
                "| filter correlation_id = 'PASTE-THE-CORRELATION-ID'\n| sort @timestamp\n| limit 1000",
            ),
            (
                "failures by model and code",
                f"filter {turns} and outcome = 'failed'\n"
                "| stats count() as times by model, error_code\n| sort times desc",
            ),
            (
                "slowest models",
                f"filter {turns}\n| stats count() as turns, pct(seconds, 50) as median, pct(seconds, 95) as p95, "
                "max(seconds) as slowest by model\n| sort p95 desc",
            ),
            (
                "unexpected errors",
                "filter level = 'ERROR'\n| stats count() as times, latest(@timestamp) as last "
                "by function, message, error_type, place\n| sort times desc",
            ),
            (
                "cold starts and memory",
                "filter @type = 'REPORT'\n| stats count() as invocations, count(@initDuration) as coldStarts, "
                "pct(@initDuration, 95) as coldMilliseconds, max(@maxMemoryUsed) / 1000000 as megabytes by @log",
            ),
        ):
            logs.CfnQueryDefinition(
                self,
                "Query" + "".join(word.capitalize() for word in name.split()),
                name=f"{self._prefix}/{name}",
                query_string=query,
                # Only the state machine's log shows a job's throttles and timeouts; it lacks what other queries read.
                log_group_names=[*functions, *([workflow.log_group.log_group_name] if name == whole_job else [])],
            )

    def _draw(self, workflow: Workflow, api: Api) -> None:
        machine = workflow.machine

        def graph(title: str, *left: cloudwatch.IMetric, unit: str = "", stacked: bool = False) -> cloudwatch.IWidget:
            return cloudwatch.GraphWidget(
                title=title,
                left=[*left],
                stacked=stacked,
                width=8,
                height=6,
                left_y_axis=cloudwatch.YAxisProps(label=unit or None, min=0, show_units=False),
            )

        def of_functions(metric_of: str, statistic: str = "Sum") -> list[cloudwatch.IMetric]:
            return [
                function.metric(metric_of, period=MINUTES, statistic=statistic, label=function.short_name)
                for function in self._functions
            ]

        rows: list[list[cloudwatch.IWidget]] = [
            [
                graph("Jobs by how they ended", self._each("JobsEnded", "status"), stacked=True),
                graph(
                    "Time of a job",
                    self._own("JobSeconds", statistic="p50"),
                    self._own("JobSeconds", statistic="p99"),
                    unit="s",
                ),
                graph(
                    "Executions",
                    machine.metric_started(period=MINUTES),
                    machine.metric_failed(period=MINUTES),
                    machine.metric_timed_out(period=MINUTES),
                    machine.metric_aborted(period=MINUTES),
                    workflow.unfinished_jobs.metric_approximate_number_of_messages_visible(
                        period=MINUTES, statistic="Maximum", label="unfinished jobs"
                    ),
                ),
            ],
            [
                graph("Time of a model, median", self._each("ModelSeconds", "model", statistic="p50"), unit="s"),
                graph("Time of a model, p90", self._each("ModelSeconds", "model", statistic="p90"), unit="s"),
                graph(
                    "Models by outcome",
                    self._each("ModelsCompleted", "model", label="done"),
                    self._each("ModelsFailed", "model", label="failed"),
                ),
            ],
            [
                graph("Why models failed", self._each("ModelErrors", "errorCode"), stacked=True),
                graph("Throttled by providers", self._each("ProviderThrottles", "model"), stacked=True),
                graph("Prompts refused by moderation", self._each("PromptsRefused", "category"), stacked=True),
            ],
            [
                graph("Known costs at providers", self._each("ModelDollars", "model"), unit="USD", stacked=True),
                graph("Requests over a limit", self._each("RateLimited", "scope"), stacked=True),
                graph("Conditional writes that met", self._each("WriteConflicts", "document"), stacked=True),
            ],
            [
                graph("Function errors", *of_functions("Errors"), stacked=True),
                graph("Function throttles", *of_functions("Throttles"), stacked=True),
                graph("Function duration, p99", *of_functions("Duration", "p99"), unit="ms"),
            ],
            [
                graph(
                    "API",
                    api.http_api.metric_count(period=MINUTES, statistic="Sum"),
                    api.http_api.metric_client_error(period=MINUTES, statistic="Sum"),
                    api.http_api.metric_server_error(period=MINUTES, statistic="Sum"),
                ),
                graph(
                    "API latency",
                    api.http_api.metric_latency(period=MINUTES, statistic="p50"),
                    api.http_api.metric_latency(period=MINUTES, statistic="p99"),
                    unit="ms",
                ),
                graph("Costs that are not known", self._own("UnknownCosts"), unit="models"),
            ],
        ]
        if self._settings.has_charges:
            rows.append(
                [
                    graph("Images", self._each("Images", "model"), stacked=True),
                    graph(
                        "Budgets",
                        self._own("OverReserved"),
                        self._own("ReservationsSwept"),
                        self._own("ReservedDollars"),
                    ),
                    graph("Requests refused by budgets and keys", self._each("Refusals", "errorCode"), stacked=True),
                ]
            )
        cloudwatch.Dashboard(
            self,
            "Dashboard",
            dashboard_name=self._prefix,
            default_interval=Duration.hours(3),
            widgets=rows,
        )
