"""The rules of cdk-nag's AwsSolutions pack, over every shape of the stack that the settings allow."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from infra.settings import PYTHON_VERSIONS
from local.checks.synthesis import built

# isort: split
# Only after the line above, which chooses the node that the CDK's library runs on.
from aws_cdk import App, Validations
from cdk_nag import AwsSolutionsChecks

JWT = {"apiAuth": "jwt", "jwtIssuer": "https://issuer.example", "jwtAudience": "client"}
# Every construct and every branch of a construct is in one of these.
SHAPES: tuple[Mapping[str, Any], ...] = (
    {"stage": "dev"},
    {"stage": "dev", "cloudfront": "false", "alarmEmail": "owner@example.com", "dailySpendAlarm": "10"},
    {"stage": "dev", "limitStore": "dynamodb"},
    {"stage": "dev", "dailyBudget": "10"},
    {"stage": "dev", "apiAuth": "keys"},
    {"stage": "prod", "apiAuth": "keys", "pythonVersion": PYTHON_VERSIONS[-1]},
    {"stage": "prod", "moderation": "model", "limitStore": "dynamodb"},
    {"stage": "prod", **JWT, "pythonVersion": PYTHON_VERSIONS[-1]},
    {"stage": "prod", "apiAuth": "none", "allowPublic": "true"},
    {"pipeline": "true", "repository": "owner/name"},
)


class Line(NamedTuple):
    """A rule, the construct that breaks it, and why that is meant, or what is wrong."""

    rule: str
    construct: str
    text: str


def run(shapes: Iterable[Mapping[str, Any]] = SHAPES) -> int:
    """Print what is found and what is explained; return 1 where a finding has no explanation."""
    found: set[Line] = set()
    explained: set[Line] = set()
    for shape in shapes:
        shape_found, shape_explained = check(shape)
        found |= shape_found
        explained |= shape_explained
    by_reason = sorted(explained, key=lambda line: (line.text, line))
    for reason, lines in itertools.groupby(by_reason, lambda line: line.text):
        print(f"  {', '.join(sorted({line.rule.partition('[')[0] for line in lines}))}: {reason}")
    for line in sorted(found):
        print(f"cdk-nag found {line.rule} at {line.construct}: {line.text}", file=sys.stderr)
    print(f"cdk-nag: AwsSolutions, {len(found)} unexplained findings; {len(explained)} exceptions, explained as above")
    return 1 if found else 0


def check(shape: Mapping[str, Any]) -> tuple[set[Line], set[Line]]:
    """The rules' findings in the app of these settings, and those explained on their construct."""
    with built(shape) as app:
        pack = AwsSolutionsChecks(app, verbose=False)
        report = pack.validate_scope(app)
        found = {
            Line(violation.rule_name, resource.construct_path or "", violation.description)
            for violation in report.violations
            for resource in violation.violating_resources
        }
        return found, set(_explained(app))


def _explained(app: App) -> Iterable[Line]:
    for construct in app.node.find_all():
        for entry in construct.node.metadata:
            if entry.type == Validations.ACKNOWLEDGED_RULES_METADATA_KEY:
                for rule, reason in dict(entry.data).items():
                    yield Line(rule.removeprefix("Annotation::"), construct.node.path, reason)
