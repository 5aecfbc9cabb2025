"""The grants of each role, read from the synthesized template: the table in ``docs/explanation/security.md``."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from local.checks.synthesis import template
from local.paths import ROOT

FILE = ROOT / "docs" / "explanation" / "security.md"
BEGIN = "<!-- grants: written by `make grants` -->\n"
END = "<!-- end of grants -->\n"
# The shapes whose roles differ: images through CloudFront, or by URLs that the functions sign; requests counted in S3,
# or in DynamoDB, with a budget or without; API keys, with which images have signed URLs and budgets are possible. All
# have a gallery: without one, its function and role are missing and no other role differs.
WITH_CLOUDFRONT: Mapping[str, Any] = {"stage": "dev", "gallery": "public"}
WITHOUT_CLOUDFRONT: Mapping[str, Any] = {**WITH_CLOUDFRONT, "cloudfront": "false"}
WITH_LEDGER: Mapping[str, Any] = {**WITH_CLOUDFRONT, "limitStore": "dynamodb"}
WITH_BUDGET: Mapping[str, Any] = {**WITH_LEDGER, "dailyBudget": "10"}
WITH_KEYS: Mapping[str, Any] = {**WITH_CLOUDFRONT, "apiAuth": "keys"}
# What the name of each function begins with, in these shapes.
FUNCTION_NAME = "pixel-prompt-dev-"
EVERY_FUNCTION = "every function"


class Grant(NamedTuple):
    """One thing that a role may do.

    Attributes
    ----------
    resource : with references as the names of what they refer to; ``*`` is any. After the name of a table: the
        partition keys
    """

    action: str
    resource: str


class PolicyError(ValueError):
    """A policy says something that `Grant` has no words for."""


class Resources:
    """A template's resources under the names that a reader knows them by."""

    def __init__(self, template: Mapping[str, Any]) -> None:
        self.by_id: dict[str, dict[str, Any]] = template["Resources"]
        self.names = {logical_id: self._name(logical_id, entry) for logical_id, entry in self.by_id.items()}

    def _name(self, logical_id: str, entry: dict[str, Any]) -> str:
        properties = entry.get("Properties", {})
        return {
            "AWS::S3::Bucket": "page" if "Page" in logical_id else "bucket",
            "AWS::DynamoDB::Table": "ledger",
            "AWS::SecretsManager::Secret": "secret",
            "AWS::StepFunctions::StateMachine": "machine",
            "AWS::SQS::Queue": "queue",
        }.get(entry["Type"]) or str(properties.get("FunctionName") or properties.get("LogGroupName") or logical_id)

    def of_type(self, type_: str) -> list[dict[str, Any]]:
        """The properties of each resource of a type."""
        return [entry["Properties"] for entry in self.by_id.values() if entry["Type"] == type_]

    def text(self, value: Any) -> str:
        """A value as text, with references as the names of what they refer to."""
        if isinstance(value, str):
            return value
        ((function, argument),) = value.items()
        if function == "Fn::Join":
            return str(argument[0]).join(self.text(part) for part in argument[1])
        if function == "Fn::Sub":
            return re.sub(r"\$\{([^}]+)\}", r"<\1>", str(argument))
        return self.names.get(argument[0] if function == "Fn::GetAtt" else argument, f"<{argument}>")

    def grants(self, role: Any) -> set[Grant]:
        """The grants of a role, named by a reference to it, by its own policies and by those of buckets.

        Denials of a bucket's policy are left out: they remove and never add.

        Raises
        ------
        PolicyError : a policy of the role denies something, or what allows the role something has a condition
        """
        role_id = role["Fn::GetAtt"][0]
        properties = self.by_id[role_id]["Properties"]
        managed = [self.text(arn) for arn in properties.get("ManagedPolicyArns", [])]
        grants = {Grant("managed policy", arn.rpartition("/")[2]) for arn in managed}
        for policy in self.of_type("AWS::IAM::Policy"):
            if {"Ref": role_id} in policy["Roles"]:
                for statement in policy["PolicyDocument"]["Statement"]:
                    grants.update(self._of_statement(statement))
        for policy in self.of_type("AWS::S3::BucketPolicy"):
            for statement in policy["PolicyDocument"]["Statement"]:
                if statement["Effect"] == "Allow" and _is_for(role, statement["Principal"]):
                    grants.update(self._of_statement(statement))
        return grants

    def _of_statement(self, statement: Mapping[str, Any]) -> Iterable[Grant]:
        keys = _partition_keys(statement.get("Condition", {}))
        if statement["Effect"] != "Allow" or keys is None:
            raise PolicyError(f"{statement} is more than actions on resources; {__name__} cannot read it.")
        for action in listed(statement["Action"]):
            for resource in listed(statement["Resource"]):
                for key in keys:
                    yield Grant(action, self.text(resource) + key)


def _partition_keys(condition: Mapping[str, Any]) -> list[str] | None:
    """The partition keys of a table that a condition allows, each after a slash, or None if it is another condition."""
    match condition:
        case {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": [*keys], **others}, **more} if not (others or more):
            return [f"/{key}" for key in keys]
        case _:
            return None if condition else [""]


def _is_for(role: Any, principal: Any) -> bool:
    """Whether a statement's principal is or includes a role; services are not roles."""
    named = principal.get("AWS", []) if isinstance(principal, dict) else principal
    return any(one in ("*", role) for one in listed(named))


def listed(value: Any) -> list[Any]:
    """One value or a list of them, as policies write it, as a list."""
    return value if isinstance(value, list) else [value]


def table() -> str:
    """The table, in Markdown."""
    shapes = [
        _by_holder(Resources(template(shape)))
        for shape in (WITH_CLOUDFRONT, WITHOUT_CLOUDFRONT, WITH_LEDGER, WITH_BUDGET, WITH_KEYS)
    ]
    common = shapes[0][EVERY_FUNCTION]
    lines = ["| who | may | on | where |", "| --- | --- | --- | --- |"]
    holders = dict.fromkeys(holder for shape in shapes for holder in shape)
    # A function that only some shapes have is listed with the functions.
    for holder in sorted(holders, key=lambda holder: holder != EVERY_FUNCTION and not _is_ours(holder)):
        first, without_cloudfront, with_ledger, with_budget, with_keys = (shape.get(holder, set()) for shape in shapes)
        if holder == EVERY_FUNCTION:
            for lacking, grants in _by_exceptions(common, shapes).items():
                where = f"except {_code(lacking)}" if lacking else ""
                lines += [f"| {holder} | {may} | {on} | {where} |" for may, on in _rows(grants)]
            continue
        everyones = common if _is_ours(holder) else set()
        for where, grants in (
            ("", first & without_cloudfront & with_ledger - everyones),
            ("only with CloudFront", first - without_cloudfront),
            ("only where images aren't public", without_cloudfront - first),
            ("only with `limitStore` `s3`", first & without_cloudfront - with_ledger),
            ("only with `limitStore` `dynamodb`", with_ledger - first),
            ("only with a budget or keys", with_budget - with_ledger - everyones),
            ("only with `apiAuth` `keys`", with_keys - with_budget - without_cloudfront - everyones),
        ):
            lines += [f"| {holder} | {may} | {on} | {where} |" for may, on in _rows(grants)]
    return "\n".join(lines) + "\n"


def _by_holder(resources: Resources) -> dict[str, set[Grant]]:
    """The grants of each holder of a role: those that our functions have in common, our functions, the rest."""
    roles = {
        entry["Properties"][name]["Fn::GetAtt"][0]: _holder(resources, logical_id, entry)
        for logical_id, entry in resources.by_id.items()
        for name in ("Role", "RoleArn")
        if isinstance(entry.get("Properties", {}).get(name), dict)
    }
    ours: dict[str, set[Grant]] = {}
    others: dict[str, set[Grant]] = {}
    for logical_id, entry in resources.by_id.items():
        if entry["Type"] == "AWS::IAM::Role":
            holder = roles.get(logical_id, logical_id)
            grants = resources.grants({"Fn::GetAtt": [logical_id, "Arn"]})
            if holder.startswith(FUNCTION_NAME):
                name = holder.removeprefix(FUNCTION_NAME)
                own = {
                    g._replace(resource="its log group") if g.resource == f"/aws/lambda/{holder}" else g for g in grants
                }
                ours[f"`{name}`"] = own
            else:
                others[holder] = grants
    return {EVERY_FUNCTION: set.intersection(*ours.values()), **ours, **others}


def _by_exceptions(
    common: Iterable[Grant], shapes: Iterable[Mapping[str, set[Grant]]]
) -> dict[tuple[str, ...], set[Grant]]:
    """Common grants by the functions that lack them: those that the first shape, which says what is common, lacks."""
    more = {holder: grants for shape in shapes for holder, grants in shape.items() if _is_ours(holder)}
    first = next(iter(shapes))
    found: dict[tuple[str, ...], set[Grant]] = defaultdict(set)
    for grant in common:
        lacking = (holder.strip("`") for holder in more if holder not in first and grant not in more[holder])
        found[tuple(sorted(lacking))].add(grant)
    return dict(sorted(found.items()))


def _is_ours(holder: str) -> bool:
    """Whether a holder is one of the service's functions."""
    return holder.startswith("`")


def _holder(resources: Resources, logical_id: str, entry: Mapping[str, Any]) -> str:
    if entry["Type"] == "AWS::StepFunctions::StateMachine":
        return "the state machine"
    if "FunctionName" in entry["Properties"]:
        return resources.names[logical_id]
    return "the CDK's copier of the page" if "BucketDeployment" in logical_id else "the CDK's emptier of buckets"


def _rows(grants: set[Grant]) -> list[tuple[str, str]]:
    """Grants as cells: actions on the same go together, then resources with the same actions."""
    actions: dict[str, set[str]] = defaultdict(set)
    for grant in grants:
        actions[grant.resource].add(grant.action)
    resources: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for resource, allowed in actions.items():
        resources[tuple(sorted(allowed))].append(resource)
    return [
        (_code(allowed_actions), _code(sorted(_short(name) for name in on)))
        for allowed_actions, on in sorted(resources.items())
    ]


def _code(values: Iterable[str]) -> str:
    return " ".join(f"`{value}`" for value in values)


def _short(name: str) -> str:
    """A name without what is the same everywhere."""
    return name.removeprefix(FUNCTION_NAME).replace("pixel-prompt-dev", "pixel-prompt-{stage}")


def run(*, check: bool) -> int:
    """Write the table, or with `check` say whether it is up to date; the exit code."""
    before, begin, rest = FILE.read_text(encoding="utf-8").partition(BEGIN)
    old, end, after = rest.partition(END)
    name = FILE.relative_to(ROOT)
    if not (begin and end):
        print(
            f"{name} has no place for the table; it needs the lines {BEGIN.strip()} and {END.strip()}.", file=sys.stderr
        )
        return 1
    new = table()
    if old == new:
        print(f"The table of grants in {name} is up to date.")
        return 0
    if check:
        print(
            f"The table of grants in {name} differs from the stack; update it with `make grants`.",
            file=sys.stderr,
        )
        return 1
    FILE.write_text(before + begin + new + end + after, encoding="utf-8")
    print(f"Written: the table of grants in {name}.")
    return 0
