"""Whether every model of a deployment can be called: keys, credit, the providers' model lists, shutdown dates, quotas.

Nothing here makes an image or costs anything. One request goes to each provider and server, all at once, and one to
Bedrock for each of its models. No key is ever shown: providers quote them, so their sentences are scrubbed first.
"""

from local.doctor.bedrock import subscribe_command
from local.doctor.examination import examine, examine_access, run
from local.doctor.report import BAD, GOOD, WARNING, Finding, Row, line, report

__all__ = [
    "BAD",
    "GOOD",
    "WARNING",
    "Finding",
    "Row",
    "examine",
    "examine_access",
    "line",
    "report",
    "run",
    "subscribe_command",
]
