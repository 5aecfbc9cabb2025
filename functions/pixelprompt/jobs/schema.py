"""Types of the job document, as it is stored and as callers get it.

They are dictionaries to the running code: a document of a later release keeps the members that this one doesn't know.
"""

from typing import Annotated, Any, Literal, Required, TypedDict, final

from msgspec import Meta

from pixelprompt.models.cost import Cost, TotalCost
from pixelprompt.models.model import Failure
from pixelprompt.models.parameters import Adjustment
from pixelprompt.models.provider import ProviderName
from pixelprompt.redaction import MAX_FACT
from pixelprompt.storage.keys import GalleryReference, ImageUrl, Moment, StoredImage

JobId = Annotated[
    str,
    Meta(
        description="ID of the job.",
        examples=["3f2b8c1e-5d6a-4b7c-8d9e-0f1a2b3c4d5e"],
        extra_json_schema={"format": "uuid"},
    ),
]
ModelName = Annotated[str, Meta(description="Name of the model.", examples=["GPT Image 2"])]
RowStatus = Literal["pending", "in_progress", "completed", "error", "cancelled"]
JobStatusName = Literal["pending", "in_progress", "completed", "partial", "failed", "cancelled"]
Applied = Annotated[
    dict[str, Any], Meta(description="Parameters that are used as they were given.", examples=[{"seed": 42}])
]
Adjusted = Annotated[
    dict[str, Adjustment],
    Meta(
        description="Parameters that the model supports with another value.",
        examples=[{"aspectRatio": {"requested": "5:4", "used": "4:3"}}],
    ),
]
Ignored = Annotated[
    dict[str, str],
    Meta(
        description="Parameters that aren't used, with the reason.",
        examples=[{"steps": "This model doesn't support `steps`."}],
    ),
]


class Image(StoredImage, total=False):
    """An image of a model's result."""

    imageUrl: ImageUrl
    width: Annotated[int, Meta(ge=0, description="Pixels.", examples=[1024])]
    height: Annotated[int, Meta(ge=0, description="Pixels.", examples=[1024])]
    seed: Annotated[int, Meta(description="The seed that the provider used, where it says so.", examples=[42])]


class FailedResult(Failure, total=False):
    """Failure of a model, with its cost where the provider may charge for it."""

    cost: Cost


class Missing(FailedResult, total=False):
    """The images that a completed model lacks, and why."""

    images: Required[Annotated[int, Meta(ge=1, description="Number of images that are missing.", examples=[1])]]


class ResultFields(FailedResult, total=False):
    """Members of a result besides its model and its state."""

    applied: Applied
    adjusted: Adjusted
    ignored: Ignored
    startedAt: Moment
    completedAt: Moment
    duration: Annotated[float, Meta(ge=0, description="Seconds.", examples=[12.5])]
    imageKey: Annotated[str, Meta(description="Key of the record of the first image.", examples=["group-images/…"])]
    imageUrl: ImageUrl
    images: Annotated[list[Image], Meta(description="The images that are there so far.")]
    reserved: Annotated[
        float,
        Meta(ge=0, description="US dollars that its last run has reserved of the budgets.", examples=[0.05]),
    ]
    charged: Annotated[
        float,
        Meta(ge=0, description="US dollars charged to the budgets by its runs that have ended.", examples=[0.04]),
    ]
    earlierCosts: Annotated[list[Cost], Meta(description="Costs of earlier runs.")]
    run: Annotated[
        int,
        Meta(
            ge=1,
            description="The last run it took part in, where a later one has left it as it was.",
            examples=[1],
        ),
    ]
    requestId: Annotated[
        str, Meta(max_length=MAX_FACT, description="The provider's own name of the request.", examples=["req_8f3a"])
    ]
    usage: Annotated[
        dict[str, int],
        Meta(description="Tokens by kind, as the provider counts them.", examples=[{"outputImageTokens": 1056}]),
    ]
    used: Annotated[
        dict[str, str],
        Meta(description="What the provider says it used, by its own names.", examples=[{"quality": "medium"}]),
    ]
    missing: Missing
    warning: Annotated[
        str,
        Meta(
            description="What is coming for this model.",
            examples=["GPT Image 1.5 is shut down on 2026-12-01; use gpt-image-2.5."],
        ),
    ]


class ModelResult(ResultFields):
    """One model's part of a job."""

    index: Annotated[int, Meta(ge=0, description="Place in `results`.", examples=[0])]
    model: ModelName
    provider: ProviderName
    status: Annotated[RowStatus, Meta(description="State of the model.", examples=["completed"])]


class Reference(GalleryReference, total=False):
    """A reference image of a job: where it came from, and what the models get."""

    host: Annotated[
        str, Meta(description="Host of its URL; the rest may be a secret.", examples=["images.example.com"])
    ]
    binaryKey: Annotated[str, Meta(description="Key of the earlier image itself.", examples=["images/…"])]
    sha256: Annotated[
        str, Meta(description="SHA-256 of the bytes that the models get, in hexadecimal.", examples=["9f86d0818…"])
    ]
    size: Annotated[int, Meta(ge=1, description="Bytes that the models get.", examples=[482113])]
    mimeType: Annotated[str, Meta(description="Type that the models get.", examples=["image/jpeg"])]
    error: Annotated[str, Meta(description="Why it can't be used.", examples=["It isn't a PNG, JPEG, or WebP image."])]


class Skipped(TypedDict):
    """A model of the request that is left out of the job."""

    model: ModelName
    reason: Annotated[str, Meta(description="Why.", examples=["It doesn't support reference images."])]


Skips = Annotated[
    list[Skipped],
    Meta(
        description="Models that are left out: with `onUnsupported` as `skip`, those that do not support reference "
        "images; in a request without `models`, those of unknown price where there is a budget."
    ),
]


class RunReservation(TypedDict, total=False):
    """What a run has reserved of the budgets, and what was charged to them."""

    id: Required[Annotated[str, Meta(description="Its name in the ledger.", examples=["5f3a9c01"])]]
    run: Required[Annotated[int, Meta(ge=1, description="Number of the run.", examples=[1])]]
    day: Required[Annotated[str, Meta(description="Day that it counts for, UTC.", examples=["2026-11-29"])]]
    amount: Required[Annotated[float, Meta(ge=0, description="US dollars that were reserved.", examples=[0.35])]]
    scopes: Annotated[
        list[str], Meta(description="The budgets: of an API key, of the deployment.", examples=[["deployment"]])
    ]
    moderation: Annotated[
        float, Meta(ge=0, description="US dollars of it for the check of the prompt.", examples=[0.009])
    ]
    charged: Annotated[
        float, Meta(ge=0, description="US dollars that were charged when the run had ended.", examples=[0.29])
    ]


class Job(TypedDict, total=False):
    """A job: one prompt to many models."""

    jobId: Required[JobId]
    status: Required[Annotated[JobStatusName, Meta(description="State of the job.", examples=["in_progress"])]]
    run: Required[Annotated[int, Meta(ge=1, description="Number of the run; a retry begins the next.", examples=[1])]]
    createdAt: Required[Moment]
    updatedAt: Required[Moment]
    schemaVersion: Required[Annotated[int, Meta(description="Version of this document's form.", examples=[1])]]
    totalModels: Required[Annotated[int, Meta(ge=0, description="Number of models.", examples=[9])]]
    completedModels: Required[Annotated[int, Meta(ge=0, description="Number of models with an image.", examples=[4])]]
    prompt: Required[Annotated[str, Meta(description="The prompt.", examples=["a red fox in the snow"])]]
    parameters: Required[
        Annotated[
            dict[str, Any],
            Meta(
                description="Parameters of the request, with defaults.", examples=[{"steps": 28, "aspectRatio": "16:9"}]
            ),
        ]
    ]
    results: Required[
        Annotated[list[ModelResult], Meta(description="One entry a model, in the order of the catalogue.")]
    ]
    owner: Annotated[
        str,
        Meta(
            description="Whose job it is: a hash of the caller that API Gateway has authenticated; none where the API "
            "is open to everybody.",
            examples=["5d41402abc4b2a76b9719d911017c592"],
        ),
    ]
    apiKey: Annotated[str, Meta(description="ID of the API key that it was made with.", examples=["9c1f0a7e5b3d2c48"])]
    runStartedAt: Moment
    cancelRequested: Moment
    cost: TotalCost
    references: Annotated[list[Reference], Meta(description="The reference images, in the order of the request.")]
    skipped: Skips
    reservations: Annotated[
        list[RunReservation], Meta(description="What each run has reserved of the budgets, where there are any.")
    ]


StatusUrl = Annotated[
    str,
    Meta(
        description="URL of `GET /status/{jobId}`.",
        examples=["https://abc123.execute-api.us-east-1.amazonaws.com/status/3f2b8c1e-5d6a-4b7c-8d9e-0f1a2b3c4d5e"],
        extra_json_schema={"format": "uri"},
    ),
]


@final
class JobStarted(TypedDict, total=False):
    """The response to a request that started a job."""

    jobId: Required[JobId]
    message: Required[
        Annotated[str, Meta(description="A sentence for a person.", examples=["The job was started with 9 models."])]
    ]
    totalModels: Required[Annotated[int, Meta(ge=0, description="Number of models.", examples=[9])]]
    statusUrl: StatusUrl
    warnings: Annotated[
        list[str], Meta(description="What is coming for models of the job, such as the day of a shutdown.")
    ]
    skipped: Skips


class EstimatedModel(TypedDict):
    """Estimated cost of a model, and the receipt of the parameters."""

    model: ModelName
    provider: ProviderName
    cost: Cost
    applied: Applied
    adjusted: Adjusted
    ignored: Ignored


@final
class Estimate(TypedDict, total=False):
    """The response to a request with `dryRun`; nothing was started or counted."""

    dryRun: Required[
        Annotated[bool, Meta(description="Always true.", examples=[True], extra_json_schema={"const": True})]
    ]
    totalModels: Required[Annotated[int, Meta(ge=0, description="Number of models.", examples=[9])]]
    models: Required[
        Annotated[list[EstimatedModel], Meta(description="One entry a model, in the order of the catalogue.")]
    ]
    cost: Required[TotalCost]
    skipped: Skips


class RunStarted(TypedDict, total=False):
    """The response to a request that runs models again."""

    jobId: Required[JobId]
    message: Required[
        Annotated[str, Meta(description="A sentence for a person.", examples=["Run 2 was started with 1 model."])]
    ]
    run: Required[Annotated[int, Meta(ge=1, description="Number of the run.", examples=[2])]]
    totalModels: Required[Annotated[int, Meta(ge=0, description="Number of models that run again.", examples=[1])]]
    statusUrl: StatusUrl
