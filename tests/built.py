"""What the entry points build from the settings of a process."""

from pixelprompt import ledger_services, services, shared_services, workflow_services

# The environment of a Lambda, for what is built at its start: nothing in it is there.
LAMBDA = {
    "AWS_LAMBDA_FUNCTION_NAME": "function",
    "AWS_ACCESS_KEY_ID": "of-a-test",
    "AWS_SECRET_ACCESS_KEY": "of-a-test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "BUCKET_NAME": "bucket",
    "PROVIDER_SECRET": "secret",
    "STATE_MACHINE_ARN": "arn:aws:states:us-east-1:123456789012:stateMachine:machine",
    "FINISH_FUNCTION": "finish",
}
# By entry point, the services that it needs.
SERVICES = {
    "submit": ("submission",),
    "status": ("job_status",),
    "cancel": ("cancellation", "images"),
    "retry": ("retry",),
    "enhance": ("enhancer",),
    "upload": ("uploads",),
    "models": ("registry", "keys"),
    "gallery": ("galleries",),
    "generate": ("generation",),
    "record_failure": ("failure_recorder",),
    "finish": ("completion",),
    "prepare_references": ("preparation",),
    "sweep": ("sweep",),
    "authorize": ("api_keys",),
    "usage": ("usage",),
}


def start(entry_point: str) -> str:
    """Statements that start a Lambda: they import the entry point, and build its services if that has not."""
    built = "; ".join(f"{entry_point}.services.{service}()" for service in SERVICES[entry_point])
    return f"import {entry_point}; {built}"


def forget() -> None:
    """Let the entry points read their settings again."""
    for module in (shared_services, services, ledger_services, workflow_services):
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()
