"""The stack: composes the constructs and names what a client needs to know."""

from collections.abc import Mapping, Sequence

from aws_cdk import CfnOutput, Stack
from constructs import Construct

from infra.api import Api
from infra.functions import Functions
from infra.ledger import Ledger
from infra.monitoring import Monitoring
from infra.page import Page
from infra.secrets import ProviderKeys
from infra.settings import Settings
from infra.storage import Storage
from infra.workflow import Workflow


class PixelPromptStack(Stack):
    """One deployment of Pixel Prompt.

    Parameters
    ----------
    bedrock_models : the regions of Bedrock's models by their ids
    default_models : names of the models of a job that names none; each is watched
    """

    def __init__(
        self, scope: Construct, settings: Settings, bedrock_models: Mapping[str, str], default_models: Sequence[str]
    ) -> None:
        super().__init__(
            scope,
            f"PixelPrompt-{settings.stage}",
            description="Pixel Prompt: one prompt to many image models",
            tags={"project": "pixel-prompt", "stage": settings.stage},
        )
        self.storage = Storage(self, "Storage", settings=settings)
        self.ledger = Ledger(self, "Ledger", settings=settings) if settings.has_ledger else None
        self.provider_keys = ProviderKeys(self, "ProviderKeys", settings=settings)
        self.functions = Functions(
            self,
            "Functions",
            settings=settings,
            storage=self.storage,
            ledger=self.ledger,
            provider_keys=self.provider_keys,
            bedrock_models=bedrock_models,
        )
        self.workflow = Workflow(self, "Workflow", settings=settings, functions=self.functions)
        self.api = Api(self, "Api", settings=settings, functions=self.functions)
        Monitoring(
            self,
            "Monitoring",
            settings=settings,
            functions=self.functions,
            workflow=self.workflow,
            api=self.api,
            models=default_models,
        )
        if self.storage.delivery and settings.serves_page:
            api_url = self.api.http_api.api_endpoint
            Page(self, "Page", settings=settings, delivery=self.storage.delivery, api_url=api_url)

        for name, value, description in (
            ("ApiUrl", self.api.stage.url, "URL of the HTTP API"),
            ("ApiId", self.api.http_api.api_id, "Id of the HTTP API"),
            ("BucketName", self.storage.bucket.bucket_name, "Bucket of jobs and images"),
            ("StateMachineArn", self.workflow.machine.state_machine_arn, "State machine that runs jobs"),
            ("ProviderSecretArn", self.provider_keys.arn, "Secret that holds the provider keys"),
            ("Gallery", settings.gallery, "Whether the galleries of all jobs are public, their owner's only, or off"),
            ("ApiAuth", settings.api_auth, "Who may call the API"),
            *([("LedgerTable", self.ledger.table_name, "Table of counts, budgets, and keys")] if self.ledger else []),
        ):
            CfnOutput(self, name, value=value, description=description)
