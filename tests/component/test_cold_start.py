"""What a fresh interpreter imports for an entry point, and what its first request says."""

import os
import subprocess
import sys

import pytest

from local.paths import ROOT
from tests import built

FUNCTIONS = ROOT / "functions"
ENTRY_POINTS = sorted(path.stem for path in FUNCTIONS.glob("*.py"))
SDKS = {"boto3", "openai", "google.genai", "httpx2", "pydantic"}


def run(code: str, **environment: str) -> str:
    """Run code in a fresh interpreter with only ``functions/`` on the path and no setting present but these."""
    environment |= {"PATH": os.environ["PATH"], "PYTHONPATH": str(FUNCTIONS)}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_the_names_of_the_specification_are_in_their_packages() -> None:
    code = """
from pixelprompt.jobs import JobManager
from pixelprompt.limits import RateLimiter
from pixelprompt.models import ModelRegistry
from pixelprompt.prompts import ContentFilter, enhance_prompt
from pixelprompt.storage import ImageStorage
named = (JobManager, RateLimiter, ModelRegistry, ContentFilter, enhance_prompt, ImageStorage)
print(*(thing.__module__ for thing in named))
"""
    assert run(code).split() == [
        "pixelprompt.jobs.store", "pixelprompt.limits.rate_limit", "pixelprompt.models.registry",
        "pixelprompt.prompts.moderation.filter", "pixelprompt.prompts.enhancement", "pixelprompt.storage.images",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_an_entry_point_imports_without_settings(name: str) -> None:
    assert run(f"import {name}") == ""


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_a_lambda_starts_without_any_sdk(name: str) -> None:
    loaded = run(f"{built.start(name)}; import sys; print(*sys.modules)", **built.LAMBDA).split()
    assert not SDKS & set(loaded)
    assert "pixelprompt.storage.documents" in loaded


@pytest.mark.parametrize("name", ["submit", "retry", "enhance", "upload"])
@pytest.mark.parametrize(("table", "store", "other"), [("", "rate_limit", "ledger"), ("table", "ledger", "rate_limit")])
def test_who_counts_requests_starts_with_the_store_that_is_set(name: str, table: str, store: str, other: str) -> None:
    environment = {**built.LAMBDA, "LEDGER_TABLE": table}
    loaded = set(run(f"{built.start(name)}; import sys; print(*sys.modules)", **environment).split())
    modules = {
        "rate_limit": {"pixelprompt.limits.rate_limit"},
        "ledger": {"pixelprompt.limits.ledger_rate_limit", "pixelprompt.storage.ledger"},
    }
    assert modules[store] <= loaded
    assert not (modules[other] | SDKS) & loaded


@pytest.mark.parametrize("name", ["submit", "status", "enhance"])
def test_a_missing_setting_is_reported_by_the_first_request(name: str) -> None:
    code = f"""
import json, {name}
event = {{"rawPath": "/x", "headers": {{}}, "pathParameters": {{"jobId": "x"}}, "body": '{{"prompt": "a fox"}}',
         "requestContext": {{"http": {{"method": "POST" if {name!r} != "status" else "GET"}}}}}}
answer = {name}.handler(event, type("Context", (), {{"function_name": "f"}})())
print(json.dumps({{"status": answer["statusCode"], "body": json.loads(answer["body"])}}))
"""
    output = run(code)
    assert '"status": 500' in output
    assert "BUCKET_NAME is missing" in output
    assert "BUCKET_NAME" not in output.splitlines()[-1]
