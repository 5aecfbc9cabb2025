"""The windows that limiters have stored, read behind their backs."""

import json
from typing import Any

from pixelprompt.limits.limiter import DAY, HOUR
from pixelprompt.storage.keys import RATE_LIMIT_KEY


def in_s3(s3: Any, bucket: str, now: float) -> dict[str, list[float]]:
    """The moments by window, that of all callers under ``global``, without those that have left it."""
    if not s3.list_objects_v2(Bucket=bucket)["KeyCount"]:
        return {}
    document = json.loads(s3.get_object(Bucket=bucket, Key=RATE_LIMIT_KEY)["Body"].read())
    return _inside({"global": document["global_requests"], **document["ip_requests"]}, now)


def in_ledger(dynamodb: Any, table: str, now: float) -> dict[str, list[float]]:
    """Likewise, in the ledger."""
    windows = {}
    for item in dynamodb.scan(TableName=table, ConsistentRead=True)["Items"]:
        name = item["pk"]["S"].removeprefix("rate-limit/jobs/").removeprefix("ip/")
        entries = item.get("moments", {}).get("SS", [])
        windows[name] = sorted(int(entry.partition("/")[0]) / 1000 for entry in entries)
    return _inside(windows, now)


def _inside(windows: dict[str, list[float]], now: float) -> dict[str, list[float]]:
    lengths = {name: HOUR if name == "global" else DAY for name in windows}
    inside = {name: [at for at in moments if at > now - lengths[name]] for name, moments in windows.items()}
    return {name: moments for name, moments in inside.items() if moments}
