"""The keys of the providers are nowhere but in their secret, after all that the other integration tests have done.

Their keys are canaries: texts that occur nowhere else. Many of those tests play faults, in which providers repeat the
key. This module runs after them.
"""

import json
from collections.abc import Iterator
from typing import Any

from local.cloud import Cloud

from .conftest import CANARY


def places(cloud: Cloud) -> Iterator[tuple[str, bytes]]:
    """All that the cloud keeps, but for the secret: where it is, and the bytes."""
    s3, logs, lambdas, states = (cloud.client(name) for name in ("s3", "logs", "lambda", "stepfunctions"))
    for bucket in s3.list_buckets()["Buckets"]:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket["Name"]):
            for entry in page.get("Contents", []):
                stored = s3.get_object(Bucket=bucket["Name"], Key=entry["Key"])
                about = json.dumps([entry["Key"], stored["Metadata"], stored.get("ContentDisposition")])
                yield f"object {entry['Key']}", about.encode() + stored["Body"].read()
    for group in logs.describe_log_groups()["logGroups"]:
        name = group["logGroupName"]
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=name):
            yield from ((f"log of {name}", event["message"].encode()) for event in page["events"])
    for function in lambdas.get_paginator("list_functions").paginate().build_full_result()["Functions"]:
        yield f"function {function['FunctionName']}", _json(function)
    machine = cloud.endpoints["stateMachineArn"]
    for page in states.get_paginator("list_executions").paginate(stateMachineArn=machine):
        for execution in page["executions"]:
            history = states.get_paginator("get_execution_history").paginate(executionArn=execution["executionArn"])
            yield f"execution {execution['name']}", _json(history.build_full_result())
    for path in cloud.directory.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield f"file {path}", path.read_bytes()


def _json(value: Any) -> bytes:
    return json.dumps(value, default=str).encode()


def test_no_key_of_a_provider_is_anywhere_but_in_its_secret(cloud: Cloud, record_property: Any) -> None:
    secret = cloud.client("secretsmanager").get_secret_value(SecretId=cloud.endpoints["providerSecret"])
    keys = json.loads(secret["SecretString"])
    assert len(keys) > 5
    assert all(key.startswith(CANARY) for key in keys.values())
    searched = 0
    found = []
    for place, content in places(cloud):
        searched += 1
        # Also the end of a key, as many a provider repeats it.
        found += [f"{name} in the {place}" for name, key in keys.items() if key[-12:].encode() in content]
    assert not found
    assert searched > 100
    record_property("canaries", f"{len(keys)} keys in none of {searched} objects, log lines, executions, and files")
