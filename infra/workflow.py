"""The state machine that runs a job, and the rules that run what is left to do when an execution is over."""

import json

import jsii
from aws_cdk import ArnFormat, Duration, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct, IConstruct

from infra.definition import workflow_definition
from infra.exceptions import acknowledge, acknowledge_resource
from infra.functions import Functions, ServiceFunction
from infra.log_groups import ServiceLogGroup
from infra.settings import Settings

_SWEEP_INTERVAL = Duration.minutes(5)


@jsii.implements(lambda_.IDestination)
class _QueueDestination:
    """A queue for what a function fails at.

    The CDK's own ``SqsDestination`` also lets the function look at the queue, for which Lambda does not ask:
    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    """

    def __init__(self, queue: sqs.Queue) -> None:
        self._queue = queue

    def bind(
        self, scope: IConstruct, fn: lambda_.IFunction, *, type: lambda_.DestinationType
    ) -> lambda_.DestinationConfig:
        """Let the function send to the queue; returns where Lambda must send. The CDK calls this."""
        fn.add_to_role_policy(iam.PolicyStatement(actions=["sqs:SendMessage"], resources=[self._queue.queue_arn]))
        return lambda_.DestinationConfig(destination=self._queue.queue_arn)


class Workflow(Construct):
    """The state machine of ``statemachine/generate_images.asl.json``.

    An execution that fails, times out or is stopped is an event that runs *finish*; what it cannot finish lands in a
    queue that raises an alarm. Where jobs are charged to budgets, a schedule runs *sweep*.
    """

    def __init__(self, scope: Construct, id: str, *, settings: Settings, functions: Functions) -> None:
        super().__init__(scope, id)
        name = f"pixel-prompt-{settings.stage}-generate-images"
        tasks = {
            "PrepareReferencesFunctionArn": functions.prepare_references.function_arn,
            "GenerateFunctionArn": functions.generate.function_arn,
            "RecordFailureFunctionArn": functions.record_failure.function_arn,
            "FinishFunctionArn": functions.finish.function_arn,
        }
        self.log_group = ServiceLogGroup(self, "Logs", settings=settings, name=f"/aws/vendedlogs/states/{name}")
        self.machine = sfn.StateMachine(
            self,
            "StateMachine",
            state_machine_name=name,
            state_machine_type=sfn.StateMachineType.STANDARD,
            definition_body=sfn.DefinitionBody.from_string(json.dumps(workflow_definition(settings, tasks.keys()))),
            definition_substitutions=tasks,
            logs=sfn.LogOptions(
                destination=self.log_group,
                level=sfn.LogLevel.ALL,
                # Prompts belong to their callers; the log traces a job's execution without its content.
                include_execution_data=False,
            ),
            tracing_enabled=True,
        )
        self.machine.add_to_role_policy(
            iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=list(tasks.values()))
        )
        acknowledge_resource(self.machine, "*", "What delivers logs and traces knows no narrower resource.")
        sweeps = (functions.sweep,) if functions.sweep else ()
        for function in (functions.submit, functions.retry, functions.cancel, functions.status, *sweeps):
            function.add_environment("STATE_MACHINE_ARN", self.machine.state_machine_arn)
        for starter in (functions.submit, functions.retry):
            starter.allow(["states:StartExecution"], [self.machine.state_machine_arn])
        executions = Stack.of(self).format_arn(
            service="states",
            resource="execution",
            resource_name=f"{name}:*",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        functions.cancel.allow(["states:StopExecution"], [executions])
        for function in (functions.status, *sweeps):
            function.allow(["states:DescribeExecution"], [executions])
        for function in (functions.cancel, functions.status, *sweeps):
            acknowledge_resource(
                function.service_role,
                f"arn:<AWS::Partition>:states:<AWS::Region>:<AWS::AccountId>:execution:{name}:*",
                "An execution is named after its job, which is not known in advance.",
            )
        self._finish_broken_jobs(functions)
        for sweep in sweeps:
            self._schedule(sweep)

    def _finish_broken_jobs(self, functions: Functions) -> None:
        queue = sqs.Queue(
            self,
            "UnfinishedJobs",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(14),
        )
        acknowledge(queue, "SQS3", "It is the dead-letter queue itself.")
        events.Rule(
            self,
            "ExecutionBroke",
            description="Finishes the job of an execution that failed, timed out or was stopped",
            event_pattern=events.EventPattern(
                source=["aws.states"],
                detail_type=["Step Functions Execution Status Change"],
                detail={
                    "stateMachineArn": [self.machine.state_machine_arn],
                    "status": ["FAILED", "TIMED_OUT", "ABORTED"],
                },
            ),
            targets=[
                targets.LambdaFunction(
                    functions.finish, dead_letter_queue=queue, retry_attempts=5, max_event_age=Duration.hours(2)
                )
            ],
        )
        # The rule's queue holds what EventBridge could not deliver; this one holds what *finish* then failed at.
        functions.finish.configure_async_invoke(
            on_failure=_QueueDestination(queue), retry_attempts=2, max_event_age=Duration.hours(2)
        )
        self.unfinished_jobs = queue

    def _schedule(self, sweep: ServiceFunction) -> None:
        # What one run fails at, the next one does: neither EventBridge nor Lambda has to try again.
        events.Rule(
            self,
            "Sweep",
            description="Settles what was left reserved of the budgets",
            schedule=events.Schedule.rate(_SWEEP_INTERVAL),
            targets=[targets.LambdaFunction(sweep, retry_attempts=0, max_event_age=_SWEEP_INTERVAL)],
        )
        sweep.configure_async_invoke(retry_attempts=0, max_event_age=_SWEEP_INTERVAL)
