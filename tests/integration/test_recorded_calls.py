"""What the functions called while all other integration tests ran: the template for AWS allows it, and little else.

The emulator wrote each call down (`local/emulator/emulator.py`). Here the template for AWS judges it, not the stack
that the emulator has, as IAM evaluates policies. Calls that the emulator refused because a test had taken a grant away
are among them. This module runs last.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from ministack.core.iam_evaluator import EvalContext, evaluate, fnmatch_iam_cs, parse_policy_document

from local.cdk import ACCOUNT, REGION
from local.checks import grants, synthesis
from local.checks.grants import Grant, listed
from local.cloud import Cloud
from local.cloud.servers import CALLS_LOG

from .conftest import RECORDED
from .test_grants import ENFORCED, NOT_ENFORCED, TRIED

SHAPES = {"with CloudFront": grants.WITH_CLOUDFRONT, "without CloudFront": grants.WITHOUT_CLOUDFRONT}


@dataclass
class Call:
    """A call as the emulator wrote it down, with the function that made it."""

    function: str
    action: str
    resource: str
    context: dict[str, Any] = field(default_factory=dict)
    missing: bool = False


class Stack(grants.Resources):
    """The template for AWS, whose references stand for what the emulator has in their place."""

    def __init__(self, shape: Mapping[str, Any], cloud: Cloud) -> None:
        self._arns = _arns(cloud)
        super().__init__(synthesis.template(shape))
        self.names |= self._arns
        self.functions = {
            properties["FunctionName"].removeprefix(grants.FUNCTION_NAME): properties["Role"]
            for properties in self.of_type("AWS::Lambda::Function")
            if properties.get("FunctionName", "").startswith(grants.FUNCTION_NAME)
        }
        (self.bucket,) = (arn for arn in self._arns.values() if arn.startswith("arn:aws:s3:::pixelprompt-dev-storage"))
        self.listing = Grant("s3:ListBucket", self.bucket)

    def allows(self, call: Call) -> bool:
        """Whether the role of the call's function allows it, and no policy of a bucket forbids it."""
        buckets = self._statements(self.of_type("AWS::S3::BucketPolicy"))
        denials = [statement for statement in buckets if statement["Effect"] == "Deny"]
        return self._evaluate(call, self._of_role(self.functions[call.function]) + denials)

    def machine_invokes(self, function: str) -> bool:
        """Whether the state machine's role may invoke a function."""
        (machine,) = self.of_type("AWS::StepFunctions::StateMachine")
        arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{grants.FUNCTION_NAME}{function}"
        return self._evaluate(Call("", "lambda:InvokeFunction", arn), self._of_role(machine["RoleArn"]))

    def _of_role(self, role: Any) -> list[dict[str, Any]]:
        reference = {"Ref": role["Fn::GetAtt"][0]}
        return self._statements([p for p in self.of_type("AWS::IAM::Policy") if reference in p["Roles"]])

    def _statements(self, policies: list[dict[str, Any]]) -> list[dict[str, Any]]:
        statements = [s for policy in policies for s in policy["PolicyDocument"]["Statement"]]
        return [{**s, "Resource": [self.text(r) for r in listed(s["Resource"])]} for s in statements]

    def _evaluate(self, call: Call, statements: list[dict[str, Any]]) -> bool:
        request = EvalContext(
            f"arn:aws:sts::{ACCOUNT}:assumed-role/{call.function}/session", "AssumedRole", ACCOUNT, call.action,
            call.resource, REGION, secure_transport=True, service_context=call.context,
        )  # fmt: skip
        policy = parse_policy_document({"Statement": statements})
        return bool(evaluate(request, [policy]).decision == "Allow")


def _arns(cloud: Cloud) -> dict[str, str]:
    """The ARNs of what is deployed by their logical ids, and what CloudFormation's own parameters stand for."""
    arns = {"AWS::Partition": "aws", "AWS::Region": REGION, "AWS::AccountId": ACCOUNT}
    pages = cloud.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName="PixelPrompt-dev")
    for entry in (entry for page in pages for entry in page["StackResourceSummaries"]):
        physical = entry["PhysicalResourceId"]
        arns[entry["LogicalResourceId"]] = {
            "AWS::S3::Bucket": f"arn:aws:s3:::{physical}",
            "AWS::Lambda::Function": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{physical}",
        }.get(entry["ResourceType"], physical)
        if entry["ResourceType"] == "AWS::SecretsManager::Secret":
            secret = cloud.client("secretsmanager").describe_secret(SecretId=physical)
            arns[entry["LogicalResourceId"]] = secret["ARN"]
    return arns


@pytest.fixture(scope="module")
def calls(cloud: Cloud) -> list[Call]:
    """Each kind of call once."""
    names = {
        configuration["Role"].rpartition("/")[2]: configuration["FunctionName"].removeprefix(grants.FUNCTION_NAME)
        for configuration in cloud.client("lambda").list_functions()["Functions"]
    }
    lines = (cloud.directory / "logs" / CALLS_LOG).read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in dict.fromkeys(lines)]
    return [Call(names[role], **entry) for entry in found if (role := entry.pop("role")) in names]


@pytest.fixture(scope="module")
def all_calls(calls: list[Call]) -> list[Call]:
    """The calls, where there are some by each grant."""
    if set(ENFORCED) != TRIED:
        pytest.skip("needs all of test_grants.py in the same process, before")
    return calls


@pytest.fixture(scope="module")
def stacks(cloud: Cloud) -> dict[str, Stack]:
    return {name: Stack(shape, cloud) for name, shape in SHAPES.items()}


@pytest.fixture(scope="module", params=SHAPES)
def stack(request: pytest.FixtureRequest, stacks: dict[str, Stack]) -> Stack:
    return stacks[request.param]


def is_picture(call: Call, stack: Stack) -> bool:
    """Whether a client made the call with a URL that a function has signed; with CloudFront none is signed."""
    signed = call.context.get("s3:authType") == "REST-QUERY-STRING"
    return signed and call.action == "s3:GetObject" and call.resource.startswith(f"{stack.bucket}/images/")


def test_the_template_allows_every_call(calls: list[Call], stack: Stack) -> None:
    assert set(stack.functions) == set(ENFORCED) >= {call.function for call in calls}
    refused = [call for call in calls if not stack.allows(call)]
    pictures = [call for call in refused if is_picture(call, stack)]
    assert refused == pictures
    if pictures:
        assert "AWS::CloudFront::Distribution" in {entry["Type"] for entry in stack.by_id.values()}


def test_who_asks_for_a_missing_key_may_list_the_bucket(all_calls: list[Call], stack: Stack) -> None:
    """Without a condition: a request for an object has no ``s3:prefix``."""
    asking = {call.function for call in all_calls if call.missing}
    assert asking >= set(ENFORCED) - {"finish", "gallery"}, "these only list"
    for function in asking:
        # A grant with a condition would be an error here.
        assert stack.listing in stack.grants(stack.functions[function]), function


def test_every_grant_is_used_or_has_its_reason(
    all_calls: list[Call], stacks: dict[str, Stack], request: pytest.FixtureRequest
) -> None:
    # The emulator has this shape.
    calls, stack = all_calls, stacks["without CloudFront"]
    unused = set()
    for function, role in stack.functions.items():
        own = [call for call in calls if call.function == function]
        for grant in stack.grants(role):
            used = any(call.action == grant.action and fnmatch_iam_cs(call.resource, grant.resource) for call in own)
            # To hear that a key is missing takes the right to list.
            if not used and not (grant == stack.listing and any(call.missing for call in own)):
                unused.add((function, grant))
    reasoned = {(function, grant) for function, grant in unused if grant.action in NOT_ENFORCED}
    granted = sum(len(stack.grants(role)) for role in stack.functions.values())
    told = (
        f"{len(calls)} different calls of {len(stack.functions)} functions use {granted - len(unused)} of {granted} "
        f"grants; {len(reasoned)} unused ones have a reason, {len(unused - reasoned)} have none"
    )
    request.node.user_properties.append((RECORDED, told))
    assert unused == reasoned


def test_the_state_machine_may_invoke_its_functions_only(stack: Stack) -> None:
    """The emulator does not hold it to its role."""
    invoked = {function for function in stack.functions if stack.machine_invokes(function)}
    assert invoked == {"prepare-references", "generate", "record-failure", "finish"}
