"""Images that callers upload into S3 themselves, by forms with a signed policy.

S3 stores a file only if it and the form's fields meet the policy (Amazon S3 API Reference, "POST Policy").
"""

import base64
import json
from typing import Any

from msgspec import Struct

from pixelprompt.storage.keys import upload_key

MAX_BYTES = 20 * 2**20
FORM_SECONDS = 15 * 60


class UploadForm(Struct, frozen=True):
    """A form that uploads one object.

    Attributes
    ----------
    url : where it is posted to
    fields : sent before the file, as they are
    expires_at : ISO 8601, in UTC
    """

    url: str
    fields: dict[str, str]
    expires_at: str


class UploadStorage:
    """Uploaded images of one bucket.

    Parameters
    ----------
    s3_client : boto3 S3 client
    bucket : bucket name
    """

    def __init__(self, s3_client: Any, bucket: str) -> None:
        self._s3 = s3_client
        self._bucket = bucket

    def form(self, upload_id: str, content_type: str) -> UploadForm:
        """A form for one image of this ID and type, of 1 to ``MAX_BYTES`` bytes, for ``FORM_SECONDS`` seconds.

        It is signed here, without a request to S3; the signer's role must be allowed to write the object.
        """
        signed = self._s3.generate_presigned_post(
            self._bucket,
            upload_key(upload_id),
            Fields={"Content-Type": content_type},
            # The client adds those of the bucket and the exact key.
            Conditions=[{"Content-Type": content_type}, ["content-length-range", 1, MAX_BYTES]],
            ExpiresIn=FORM_SECONDS,
        )
        policy = json.loads(base64.b64decode(signed["fields"]["policy"]))
        return UploadForm(signed["url"], signed["fields"], policy["expiration"])
