"""The page's files, and the headers that they are served with everywhere.

Imports nothing of the CDK, so that the laptop's server shares it.
"""

from pathlib import Path
from typing import Any

WEB = Path(__file__).resolve().parent.parent / "web"
# By suffix; a file with another one is not part of the page.
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# For an image that is also a document: opened as one, it runs nothing and has no origin. Browsers lay out an image that
# has a tab of its own with styles in the markup, so those stay allowed; the policy of an image in a page has no effect.
IMAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"


def page_config(
    *, api_url: str, status_wait: int, gallery: bool, auth: str = "none", usage: bool = False
) -> dict[str, Any]:
    """The content of ``config.json``, which the page reads first.

    Parameters
    ----------
    api_url : URL of the HTTP API
    status_wait : seconds that the page may wait for a change
    gallery : whether the API has a gallery to show
    auth : what callers need: ``none``, or an API key (``keys``)
    usage : whether the API tells what was used and what is left of budgets
    """
    return {"apiUrl": api_url, "statusWait": status_wait, "gallery": gallery, "auth": auth, "usage": usage}


def content_security_policy(*, api: str, uploads: str, images: str = "") -> str:
    """The page's policy: it loads its own files, and images of its own origin, of ``images``, and of the user's files.

    It calls the API at the origin ``api`` and posts files to ``uploads``, one or more origins separated by blanks.
    """
    own_and_images = " ".join(filter(None, ("'self'", "blob:", images)))
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": own_and_images,
        # Images are fetched as well: to be saved, alone or in one archive.
        "connect-src": " ".join(dict.fromkeys([*own_and_images.split(), api, *uploads.split()])),
        # Nothing that is text may become markup or script.
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {sources}" for name, sources in policy.items())
