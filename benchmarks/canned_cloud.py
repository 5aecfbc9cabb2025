"""AWS in memory, for the requests of the functions: enough to measure a function without the emulator."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs, unquote, urlsplit

from tests.canned import Answer, Asked, Canned

BUCKET = "bucket"


def canned_cloud(secret: Mapping[str, str]) -> Canned:
    """S3 with one empty bucket, a Secrets Manager with `secret`, and a Step Functions that accepts everything."""
    objects: dict[str, bytes] = {}

    def answer(asked: Asked) -> Answer:
        if operation := asked.headers.get("x-amz-target", "").rpartition(".")[2]:
            return Answer(content=_OPERATIONS[operation](secret))
        parts = urlsplit(asked.path)
        key = unquote(parts.path).removeprefix(f"/{BUCKET}").removeprefix("/")
        if asked.method == "PUT":
            assert "aws-chunked" not in asked.headers.get("content-encoding", ""), asked.headers
            objects[key] = asked.body
            return Answer(headers={"ETag": _etag(asked.body)})
        if not key:
            return Answer(content=_listing(objects, parse_qs(parts.query).get("prefix", [""])[0]))
        if key not in objects:
            return Answer(404, b"<Error><Code>NoSuchKey</Code><Message>The key does not exist.</Message></Error>")
        return Answer(content=objects[key], headers={"ETag": _etag(objects[key])})

    return Canned(answer)


_OPERATIONS: dict[str, Callable[[Mapping[str, str]], object]] = {
    "GetSecretValue": lambda secret: {"SecretString": json.dumps(dict(secret))},
    "StartExecution": lambda secret: {"executionArn": "arn:aws:states:us-east-1:0:execution:m:e", "startDate": 0},
    "StopExecution": lambda secret: {"stopDate": 0},
}


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


def _listing(objects: Mapping[str, bytes], prefix: str) -> bytes:
    entries = "".join(
        f"<Contents><Key>{key}</Key><Size>{len(objects[key])}</Size></Contents>"
        for key in sorted(objects)
        if key.startswith(prefix)
    )
    return f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode()
