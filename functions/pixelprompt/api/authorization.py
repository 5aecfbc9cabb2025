"""Who a caller is: the Lambda authorizer's decision on an API key, and what the other Lambdas read from it.

The decision depends on the key only, never on the route, because API Gateway keeps it for all routes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pixelprompt.identity import ANYBODY, Identity, KeyLimits
from pixelprompt.observability import logger

if TYPE_CHECKING:
    from pixelprompt.limits.api_keys import ApiKey, ApiKeys

_SCHEME = "bearer "


def decision(event: Mapping[str, Any], keys: ApiKeys) -> dict[str, Any]:
    """Whether a request may pass, and for whom.

    Raises
    ------
    StorageError : the keys cannot be read; API Gateway answers 500
    """
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    given = str(headers.get("authorization", ""))
    found = keys.find(given[len(_SCHEME) :].strip()) if given[: len(_SCHEME)].lower() == _SCHEME else None
    if found is None:
        logger.info("A caller was refused.")
        return {"isAuthorized": False}
    return {"isAuthorized": True, "context": _context(found)}


def identity(authorizer: Mapping[str, Any]) -> Identity:
    """Whom API Gateway has authenticated, by an API key, a JWT, or IAM."""
    told = authorizer.get("lambda") or {}
    if "keyId" in told:
        limits = KeyLimits(**{**json.loads(told["limits"]), "id": told["keyId"]})
        return Identity(f"key {limits.id}", limits)
    if authorizer.get("jwt"):
        claims = authorizer["jwt"].get("claims") or {}
        # Tokens of programs may lack a subject. Those that name nobody belong to one caller, who is not nobody.
        name = next((f" {claim} {claims[claim]}" for claim in ("sub", "client_id", "azp") if claims.get(claim)), "")
        return Identity(f"jwt{name}")
    if authorizer.get("iam"):
        iam = authorizer["iam"]
        # All users of an identity pool of Cognito have the same session of the same role.
        user = (iam.get("cognitoIdentity") or {}).get("identityId") or _without_session(iam.get("userId") or "")
        return Identity(f"iam {user}" if user else "iam")
    return ANYBODY


def _without_session(user: str) -> str:
    """The ID of an IAM user, or of the role that someone has assumed.

    Sessions of a role are not told apart: copies of a program have one each, and the next has another name.
    (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html, `aws:userid`.)
    """
    return user.partition(":")[0] if user.startswith("AROA") else user


def _context(key: ApiKey) -> dict[str, str]:
    limits = {name: getattr(key, name) for name in KeyLimits.__struct_fields__ if name != "id"}
    return {"keyId": key.id, "limits": json.dumps(limits)}
