"""Who sends a request, as API Gateway has authenticated the caller, and what belongs to whom.

A job has the owner whose request made it. It is there for its owner and for admins only; everybody else is told that it
does not exist. Where the API is open to everybody, callers and jobs have no owner.
"""

import hashlib
from collections.abc import Iterable

from msgspec import Struct

from pixelprompt.errors import ModelNotAllowed


class KeyLimits(Struct, frozen=True):
    """What an API key allows.

    Attributes
    ----------
    id : stays when the key is rotated; what its holder makes belongs to it
    is_admin : whether its holder sees what all callers have made
    daily, monthly : most that its jobs may cost in a UTC calendar day and month, in millionths of a US dollar
    rate : most jobs in a rolling hour
    models : names of those that it may ask; empty: all
    """

    id: str
    is_admin: bool = False
    daily: int | None = None
    monthly: int | None = None
    rate: int | None = None
    models: tuple[str, ...] = ()


class Identity(Struct, frozen=True):
    """A caller.

    Attributes
    ----------
    principal : whom API Gateway has authenticated, by an API key, a JWT, or IAM; empty where the API is open
    key : what the caller's API key allows; None without one
    """

    principal: str = ""
    key: KeyLimits | None = None

    @property
    def key_id(self) -> str:
        """ID of the caller's API key; empty without one."""
        return self.key.id if self.key else ""

    @property
    def is_admin(self) -> bool:
        """Whether the caller may see what belongs to others."""
        return self.key is not None and self.key.is_admin

    @property
    def owner(self) -> str:
        """The name under which the caller's things are stored, of 32 characters; empty where the API is open."""
        return hashlib.sha256(self.principal.encode()).hexdigest()[:32] if self.principal else ""

    def may_ask(self, model: str) -> bool:
        """Whether the caller may ask the model of this name."""
        return self.key is None or not self.key.models or model in self.key.models

    def may_see(self, owner: str) -> bool:
        """Whether something of this owner is there for the caller."""
        return self.is_admin or owner == self.owner


ANYBODY = Identity()


def refuse_disallowed(models: Iterable[str], caller: Identity) -> None:
    """Go on only where the caller's API key allows all of these models.

    Raises
    ------
    ModelNotAllowed
    """
    refused = [name for name in models if not caller.may_ask(name)]
    if refused and caller.key:
        allowed = ", ".join(caller.key.models)
        raise ModelNotAllowed(f"Your API key does not allow {', '.join(refused)}. It allows: {allowed}.")
