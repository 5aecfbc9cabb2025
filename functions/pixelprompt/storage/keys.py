"""The keys of all objects in the bucket: the only place that builds or parses them.

==================================================================  ==============================================
``jobs/{jobId}/status.json``                                        job document
``jobs/{jobId}/resume/{index}[-r{run}].json``                       progress of a row, for resuming it
``group-images/{target}/{model}-{timestamp}[-{n}].json``            record of an image
``images/{target}/{model}-{timestamp}[-{n}].{png|jpg|webp}``        the image itself
``gallery-index/{9999999999999 - timestamp}-{target}/{model}-…``    empty: lists an image, the newest gallery first
``owned-galleries/{owner}/{9999999999999 - timestamp}-{target}/…``  empty: likewise among the images of one owner
``idempotency/{sha256}.json``                                       record of an idempotency key
``enhanced/{sha256}.json``                                          an enhanced prompt
``rate-limit/{ratelimit,enhance,uploads}.json``                     windows of the rate limits
``config/models.json``                                              the operator's overlay of the catalogue
``uploads/{uploadId}``                                              an image that a caller has uploaded
``references/{jobId}/given.json``                                   reference images of a job, as its caller gave them
``references/{jobId}/{n}``                                          a reference image, prepared for the providers
==================================================================  ==============================================
"""

import hashlib
import re
from datetime import datetime
from typing import Annotated, Literal, Required, TypedDict

from msgspec import Meta

JOBS = "jobs/"
RECORDS = "group-images/"
IMAGES = "images/"
INDEX = "gallery-index/"
OWNED_INDEX = "owned-galleries/"
IDEMPOTENCY = "idempotency/"
ENHANCED = "enhanced/"
RATE_LIMITS = "rate-limit/"
RATE_LIMIT_KEY = f"{RATE_LIMITS}ratelimit.json"
ENHANCE_LIMIT_KEY = f"{RATE_LIMITS}enhance.json"
UPLOAD_LIMIT_KEY = f"{RATE_LIMITS}uploads.json"
# By what they count.
LIMIT_KEYS = {"jobs": RATE_LIMIT_KEY, "enhance": ENHANCE_LIMIT_KEY, "uploads": UPLOAD_LIMIT_KEY}
OVERLAY_KEY = "config/models.json"
UPLOADS = "uploads/"
REFERENCES = "references/"
# As policies name them.
STATUS_KEYS = f"{JOBS}*/status.json"
RESUME_KEYS = f"{JOBS}*/resume/*"
# A question mark stands for one character.
GIVEN_REFERENCES_KEYS = f"{REFERENCES}*/given.json"
PREPARED_REFERENCES_KEYS = f"{REFERENCES}*/?"
# The last epoch millisecond of 13 digits; what is subtracted from it sorts newest first.
LAST_MOMENT = 10**13 - 1

_TIMESTAMP = re.compile(r"-[0-9]{13}(-[0-9]+)?$")
# Of an image as keys have it: a gallery, which ends with the beginning of a job's ID, and a model's name.
_RECORD = re.compile(
    rf"{RECORDS}[0-9]{{4}}(?:-[0-9]{{2}}){{5}}-[0-9a-f]{{8}}/[A-Za-z0-9.-]{{1,200}}-[0-9]{{13}}(?:-[0-9]{{1,2}})?\.json",
    re.ASCII,
)


Moment = Annotated[
    str,
    Meta(
        description="ISO 8601, in UTC.",
        examples=["2026-11-28T09:30:00.000Z"],
        extra_json_schema={"format": "date-time"},
    ),
]
ImageUrl = Annotated[
    str,
    Meta(
        description="URL of the image, from which anyone can load it: with CloudFront until the image expires, "
        "otherwise for 30 to 60 minutes.",
        examples=["https://….s3.amazonaws.com/images/…"],
        extra_json_schema={"format": "uri"},
    ),
]


class StoredImage(TypedDict):
    """The keys of a stored image."""

    imageKey: Annotated[
        str, Meta(description="Key of its record, which has the image in base64.", examples=["group-images/…"])
    ]
    binaryKey: Annotated[str, Meta(description="Key of the image itself.", examples=["images/…"])]


class GalleryReference(TypedDict, total=False):
    """A reference image, as far as everyone may see it who sees the gallery of its job."""

    index: Required[Annotated[int, Meta(ge=0, description="Place in the request's `images`.", examples=[0])]]
    source: Required[
        Annotated[
            Literal["imageKey", "uploadId", "url", "data"],
            Meta(description="The member of the request that named it.", examples=["imageKey"]),
        ]
    ]
    imageKey: Annotated[str, Meta(description="The earlier image that it is.", examples=["group-images/…"])]
    fromGallery: Annotated[
        str,
        Meta(
            description="ID of the gallery of the earlier image.",
            examples=["2026-11-28-09-30-00-3f2b8c1e"],
        ),
    ]
    imageUrl: Annotated[
        ImageUrl, Meta(description="URL of the earlier image, as long as that is kept; no other source has one.")
    ]
    width: Annotated[int, Meta(ge=1, description="Pixels.", examples=[1024])]
    height: Annotated[int, Meta(ge=1, description="Pixels.", examples=[1024])]


def file_name(text: str) -> str:
    """The text in the form used in keys: only letters, digits, dots and hyphens."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")


def status_key(job_id: str) -> str:
    """Key of the job document."""
    return f"{JOBS}{job_id}/status.json"


def resume_key(job_id: str, index: int, run: int = 1) -> str:
    """Key of the token with which a row's request to its provider can be resumed; each run has its own."""
    return f"{JOBS}{job_id}/resume/{index}.json" if run == 1 else f"{JOBS}{job_id}/resume/{index}-r{run}.json"


def job_of_folder(prefix: str) -> str:
    """The job id of a folder ``jobs/{jobId}/``."""
    return prefix.removeprefix(JOBS).rstrip("/")


def gallery(job_id: str, created_at: str) -> str:
    """Name of the gallery that holds a job's images: its creation time and the beginning of its id."""
    return f"{datetime.fromisoformat(created_at):%Y-%m-%d-%H-%M-%S}-{job_id[:8]}"


def epoch_milliseconds(created_at: str) -> int:
    """The job's creation time as it appears in the names of its images."""
    return round(datetime.fromisoformat(created_at).timestamp() * 1000)


def stem(target: str, model: str, timestamp: int, number: int = 0) -> str:
    """The part of an image's keys between prefix and extension; ``number`` counts the images of one model from 0."""
    return f"{file_name(target)}/{file_name(model)}-{timestamp}" + (f"-{number + 1}" if number else "")


def stem_in_job(job_id: str, created_at: str, model: str) -> str:
    """Start of the keys of a model's images in a job, after their prefixes."""
    return stem(gallery(job_id, created_at), model, epoch_milliseconds(created_at))


def record_key(name: str) -> str:
    """Key of the record of the image with this stem."""
    return f"{RECORDS}{name}.json"


def is_record_key(text: str) -> bool:
    """Whether a text has the form of the key of an image's record."""
    return _RECORD.fullmatch(text) is not None


def gallery_of(key: str) -> str:
    """Name of the gallery in the key of a record."""
    return stem_of(key).partition("/")[0]


def image_key(name: str, extension: str) -> str:
    """Key of the image with this stem."""
    return f"{IMAGES}{name}.{extension}"


def stem_of(key: str) -> str:
    """The stem in the key of a record or an image."""
    return key.removeprefix(RECORDS).removeprefix(IMAGES).rpartition(".")[0]


def number_of(name: str, image: StoredImage) -> int:
    """The number, from 0, of an image among those of the stem ``name``."""
    rest = stem_of(image["imageKey"]).removeprefix(name).lstrip("-")
    return int(rest) - 1 if rest.isdecimal() else 0


def model_of(image_key: str) -> str:
    """The model's name as it appears in the keys of its images."""
    return _TIMESTAMP.sub("", stem_of(image_key).rpartition("/")[2])


def index_of(owner: str) -> str:
    """Beginning of the keys of an index of galleries: that of an owner, or without one, that of all."""
    return f"{OWNED_INDEX}{owner}/" if owner else INDEX


def index_key(timestamp: int, binary_key: str, owner: str = "") -> str:
    """Key of the entry that lists an image in an index of galleries."""
    return f"{index_of(owner)}{LAST_MOMENT - timestamp:013}-{binary_key.removeprefix(IMAGES)}"


def of_index_folder(folder: str) -> tuple[int, str]:
    """Creation (epoch milliseconds) and name of the gallery of a folder of the index."""
    moment, _, name = folder.partition("-")
    return LAST_MOMENT - int(moment), name


def idempotency_key(caller: str, key: str) -> str:
    """Key of the record of a caller's idempotency key; the caller's own text is no part of it."""
    return f"{IDEMPOTENCY}{_digest(caller, key)}.json"


def enhanced_key(*parts: str) -> str:
    """Key of what a text model has made of these ``parts``: model, instruction, prompt."""
    return f"{ENHANCED}{_digest(*parts)}.json"


def upload_key(upload_id: str) -> str:
    """Key of an uploaded image."""
    return f"{UPLOADS}{upload_id}"


def given_references_key(job_id: str) -> str:
    """Key of the reference images of a job as its caller gave them."""
    return f"{REFERENCES}{job_id}/given.json"


def reference_key(job_id: str, number: int) -> str:
    """Key of a prepared reference image of a job; ``number`` counts from 0."""
    return f"{REFERENCES}{job_id}/{number}"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
