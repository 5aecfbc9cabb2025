"""cdk-nag judges every shape of the stack, and an exception without its reason is found."""

from typing import Any

import pytest

from local.checks import nag


@pytest.mark.parametrize("shape", nag.SHAPES, ids=str)
def test_nothing_is_found_that_is_not_explained(shape: dict[str, Any]) -> None:
    found, explained = nag.check(shape)
    assert not found
    assert all(len(line.text) > 20 for line in explained)


def test_an_exception_that_nobody_explains_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.workflow.acknowledge", lambda *_: None)
    found, _ = nag.check(nag.SHAPES[0])
    assert {line.rule for line in found} == {"AwsSolutions-SQS3"}


def test_findings_end_the_check_with_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("infra.secrets.acknowledge", lambda *_: None)
    assert nag.run(nag.SHAPES[:1]) == 1
    printed = capsys.readouterr()
    assert "cdk-nag found AwsSolutions-SMG4 at PixelPrompt-dev/ProviderKeys/Resource" in printed.err
    assert "1 unexplained findings" in printed.out
