"""The library under the Lambdas.

Some methods are for programs that use the library; the Lambdas need more than these return, and call what is under
them: ``RateLimiter.check_rate_limit`` and ``is_rate_limited``; ``ImageStorage.save_image``, ``get_image``,
``list_galleries``, and ``list_gallery_images``; ``ContentFilter.check_prompt``.
"""

from pixelprompt import cold_start

cold_start.begin()
