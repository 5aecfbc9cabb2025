"""Calls of a running cloud: lines to paste into a shell."""

from __future__ import annotations

import shlex

from local.cloud import Endpoints

# As docs/reference/api.md has it.
_WAIT = (
    """while curl -fsS "$API/status/$JOB?wait=20" | grep -qE '^\\{"jobId":"[^"]*","status":"(pending|in_progress)"'; """
    "do sleep 1; done"
)
_PROMPT = '{"prompt": "a lighthouse in fog"}'


def usage(endpoints: Endpoints, api_key: str = "") -> str:
    """Where the page is; shell commands that start a job, ask for it, enhance a prompt, point the AWS tools here.

    Parameters
    ----------
    api_key : goes along, if any
    """
    curl = 'curl -H "Authorization: Bearer $KEY"' if api_key else "curl"
    body = shlex.quote(_PROMPT)
    certificate = shlex.quote(endpoints["certificate"]) if endpoints["certificate"] else ""
    simulated = ", ".join(endpoints["simulated"])
    lines = [
        f"# the page, for a browser{f' that trusts {certificate}' if certificate else ''}: {endpoints['page']}",
        "",
        *([f"export CURL_CA_BUNDLE={certificate}"] if certificate else []),
        f"API={endpoints['api']}",
        *([f"KEY={api_key}  # an admin's, also for the page; `make key` makes others"] if api_key else []),
        "",
        "# start a job, and ask how it is going",
        f"""JOB=$({curl} -s "$API/generate" -d {body} | sed -n 's/.*"jobId": *"\\([^"]*\\)".*/\\1/p')""",
        f'{curl} -s "$API/status/$JOB"',
        "",
        "# wait until it has ended",
        _WAIT.replace("curl", curl),
        "",
        "# have a text model expand a prompt",
        f'{curl} -s "$API/enhance" -d {body}',
        "",
        "# see it with the AWS command line",
        f". {shlex.quote(endpoints['shellFile'])}",
        f"aws s3 ls --recursive s3://{endpoints['bucket']}",
        f'aws stepfunctions describe-execution --execution-arn "{execution_arn(endpoints, "$JOB")}"',
        "",
        f"# simulated providers, at {endpoints['simulator']}: {simulated}" if simulated else "# all providers are real",
    ]
    return "\n".join(lines)


def execution_arn(endpoints: Endpoints, job_id: str) -> str:
    """ARN of a job's execution."""
    return f"{endpoints['stateMachineArn'].replace(':stateMachine:', ':execution:')}:{job_id}"
