"""The table of grants in docs/explanation/security.md is what the template says, and a stale one is reported."""

from pathlib import Path

import pytest

from local.checks import grants
from local.checks.grants import BEGIN, END, Grant, PolicyError, Resources


@pytest.fixture(scope="module")
def table() -> str:
    return grants.table()


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str) -> Path:
    """A document with the table of today; the stack is not synthesized again."""
    path = tmp_path / "security.md"
    path.write_text(f"Before.\n{BEGIN}{table}{END}After.\n")
    monkeypatch.setattr(grants, "ROOT", tmp_path)
    monkeypatch.setattr(grants, "FILE", path)
    monkeypatch.setattr(grants, "table", lambda: table)
    return path


def test_the_document_is_up_to_date(table: str) -> None:
    _, _, rest = grants.FILE.read_text().partition(BEGIN)
    assert rest.partition(END)[0] == table


def test_the_table_tells_both_shapes_apart(table: str) -> None:
    lines = table.splitlines()
    for name in ("status", "cancel", "gallery"):
        assert f"| `{name}` | `s3:GetObject` | `bucket/images/*` | only where images aren't public |" in lines
    assert [line for line in lines if "cloudfront:CreateInvalidation" in line and "only with CloudFront" in line]
    assert "| every function | `s3:ListBucket` | `bucket` | except `authorize` `usage` |" in lines
    assert "| every function | `logs:CreateLogStream` `logs:PutLogEvents` | `its log group` |  |" in lines


def test_the_table_tells_where_requests_are_counted(table: str) -> None:
    lines = table.splitlines()
    for name, windows in (("submit", "jobs"), ("retry", "jobs"), ("enhance", "enhance"), ("upload", "uploads")):
        actions = "`dynamodb:BatchGetItem` `dynamodb:UpdateItem`"
        assert (
            f"| `{name}` | {actions} | `ledger/rate-limit/{windows}/*` | only with `limitStore` `dynamodb` |" in lines
        )
    assert len([line for line in lines if "`ledger/rate-limit/" in line]) == 4
    assert "| `upload` | `s3:ListBucket` | `bucket` | only with `limitStore` `s3` |" in lines


def test_the_table_tells_what_only_a_budget_needs(table: str) -> None:
    only = "only with a budget or keys"
    lines = [line for line in table.splitlines() if line.endswith(f"| {only} |")]
    holders = {line.split("`")[1] for line in lines}
    assert holders == {"submit", "retry", "enhance", "generate", "finish", "sweep", "usage"}
    assert f"| `generate` | `dynamodb:UpdateItem` | `ledger/reservation/*` | {only} |" in lines
    assert f"| `sweep` | `dynamodb:Query` `dynamodb:UpdateItem` | `ledger/budget` | {only} |" in lines
    # What every function may do is in its own rows.
    assert not [line for line in lines if "logs:" in line or "xray:" in line or "s3:ListBucket" in line]


def test_the_table_tells_what_only_keys_need(table: str) -> None:
    lines = [line for line in table.splitlines() if line.endswith("| only with `apiAuth` `keys` |")]
    assert set(lines) == {
        "| `authorize` | `dynamodb:BatchGetItem` | `ledger/api-key` | only with `apiAuth` `keys` |",
        "| `usage` | `dynamodb:Query` | `ledger/api-key` | only with `apiAuth` `keys` |",
    }


def test_the_table_has_what_bucket_policies_allow_a_role(table: str) -> None:
    emptier = "the CDK's emptier of buckets"
    actions = "`s3:DeleteObject*` `s3:GetBucket*` `s3:List*` `s3:PutBucketPolicy`"
    lines = table.splitlines()
    assert f"| {emptier} | {actions} | `bucket` `bucket/*` |  |" in lines
    assert f"| {emptier} | {actions} | `page` `page/*` | only with CloudFront |" in lines


def test_a_stale_table_is_told_and_mended(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fresh = written.read_text()
    assert grants.run(check=True) == 0
    written.write_text(fresh.replace("`states:StartExecution`", "`states:*`"))
    stale = written.read_text()
    assert grants.run(check=True) == 1
    told = "The table of grants in security.md differs from the stack; update it with `make grants`.\n"
    assert capsys.readouterr().err == told
    assert written.read_text() == stale
    assert grants.run(check=False) == 0
    assert written.read_text() == fresh


def test_a_document_without_a_place_for_the_table_is_told(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written.write_text("Nothing.\n")
    assert grants.run(check=False) == 1
    assert "has no place for the table" in capsys.readouterr().err


@pytest.mark.parametrize(
    "statement",
    [
        {"Effect": "Deny", "Action": "s3:GetObject", "Resource": "*"},
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*", "Condition": {"Bool": {"aws:x": "true"}}},
        {
            "Effect": "Allow",
            "Action": "s3:GetObject",
            "Resource": "*",
            "Condition": {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["a"]}, "Bool": {"aws:x": "true"}},
        },
    ],
    ids=["deny", "condition", "more than keys"],
)
def test_what_the_table_has_no_words_for_is_an_error(statement: dict[str, object]) -> None:
    role = {"Type": "AWS::IAM::Role", "Properties": {}}
    policy = {"Roles": [{"Ref": "Role"}], "PolicyDocument": {"Statement": [statement]}}
    resources = Resources({"Resources": {"Role": role, "P": {"Type": "AWS::IAM::Policy", "Properties": policy}}})
    with pytest.raises(PolicyError):
        resources.grants({"Fn::GetAtt": ["Role", "Arn"]})
    statement.update(Effect="Allow", Condition={})
    assert resources.grants({"Fn::GetAtt": ["Role", "Arn"]}) == {Grant("s3:GetObject", "*")}


ROLE = {"Fn::GetAtt": ["Role", "Arn"]}


@pytest.mark.parametrize(
    ("principal", "is_for_the_role"),
    [
        ({"AWS": ROLE}, True),
        ({"AWS": [{"Fn::GetAtt": ["Other", "Arn"]}, ROLE]}, True),
        ({"AWS": "*"}, True),
        ("*", True),
        ({"AWS": {"Fn::GetAtt": ["Other", "Arn"]}}, False),
        ({"Service": "cloudfront.amazonaws.com"}, False),
    ],
    ids=str,
)
def test_a_bucket_policy_allows_something_to_its_principals_only(principal: object, is_for_the_role: bool) -> None:
    def resources(**more: object) -> Resources:
        statement = {"Effect": "Allow", "Principal": principal, "Action": "s3:GetObject", "Resource": "*", **more}
        policy = {"Bucket": {"Ref": "B"}, "PolicyDocument": {"Statement": [statement]}}
        role = {"Type": "AWS::IAM::Role", "Properties": {}}
        return Resources({"Resources": {"Role": role, "P": {"Type": "AWS::S3::BucketPolicy", "Properties": policy}}})

    assert resources().grants(ROLE) == ({Grant("s3:GetObject", "*")} if is_for_the_role else set())
    assert resources(Effect="Deny").grants(ROLE) == set()
    if is_for_the_role:
        with pytest.raises(PolicyError):
            resources(Condition={"Bool": {"aws:x": "true"}}).grants(ROLE)
