"""Generated requests, valid and not, meet no server error and no answer that the description does not hold."""

import pytest

from local.checks.fuzz import fuzz, fuzzed_cloud
from pixelprompt.api.routes import ROUTES

# Generated requests to each route, beside those that cover its parameters one by one.
EXAMPLES = 10


@pytest.mark.slow
def test_generated_requests_are_answered_as_described() -> None:
    with fuzzed_cloud() as cloud:
        outcome = fuzz(cloud, examples=EXAMPLES)
    assert outcome.passed, outcome.report
    assert outcome.routes == len(ROUTES)
    # Some dozen each; a run that hardly sent any has shown nothing.
    assert outcome.requests > 5 * len(ROUTES)
