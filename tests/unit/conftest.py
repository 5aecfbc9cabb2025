"""Unit tests reach no network but sockets on loopback, and S3 only as moto plays it."""

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

import pytest
from pytest_socket import socket_allow_hosts

from tests.canned import Answer, Asked


@pytest.fixture(autouse=True)
def _no_network() -> None:
    socket_allow_hosts(["127.0.0.1", "::1", "localhost"], allow_unix_socket=True)


Metric = dict[str, Any]


@pytest.fixture
def metrics(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[Metric]]:
    """What the Lambdas have measured since the last call: values and dimensions as CloudWatch would read them."""

    def read() -> list[Metric]:
        found = []
        for line in capsys.readouterr().out.splitlines():
            value = json.loads(line) if line.startswith('{"_aws"') else {}
            for directive in value.get("_aws", {}).get("CloudWatchMetrics", []):
                assert directive["Namespace"] == "PixelPrompt"
                (names,) = directive["Dimensions"]
                measured = {metric["Name"]: value[metric["Name"]][0] for metric in directive["Metrics"]}
                found.append(measured | {name: value[name] for name in names if name != "service"})
        return found

    return read


def stacks(outputs: Mapping[str, Mapping[str, str]]) -> Callable[[Asked], Answer]:
    """CloudFormation with these stacks, by their outputs."""

    def answer(asked: Asked) -> Answer:
        name = parse_qs(asked.body.decode())["StackName"][0]
        if name not in outputs:
            error = f"<Code>ValidationError</Code><Message>Stack with id {name} does not exist</Message>"
            return Answer(400, f"<ErrorResponse><Error>{error}</Error></ErrorResponse>".encode())
        listed = "".join(
            f"<member><OutputKey>{key}</OutputKey><OutputValue>{value}</OutputValue></member>"
            for key, value in outputs[name].items()
        )
        stack = f"<member><StackName>{name}</StackName><Outputs>{listed}</Outputs></member>"
        result = f"<DescribeStacksResult><Stacks>{stack}</Stacks></DescribeStacksResult>"
        return Answer(content=f"<DescribeStacksResponse>{result}</DescribeStacksResponse>".encode())

    return answer
