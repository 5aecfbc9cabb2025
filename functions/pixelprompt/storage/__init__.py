"""S3: documents, images, galleries, and the keys of all of them."""

from typing import TYPE_CHECKING

from pixelprompt.deferred import deferred

if TYPE_CHECKING:
    from pixelprompt.storage.images import ImageStorage

__all__ = ["ImageStorage"]
__getattr__ = deferred(__name__, {"ImageStorage": "images"})
