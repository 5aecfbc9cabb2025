"""The ledger: a DynamoDB table of what many requests count at once, each by one conditional write to one item.

An item has two keys, ``pk`` and ``sk``; the attribute ``expiresAt`` is the epoch second after which DynamoDB may remove
it.

=======
============================================  =======================  =================================================
``pk``                                        ``sk``                   item
============================================  =======================  =================================================
``rate-limit/{jobs,enhance,uploads}/global``  ``window``               ``moments`` of all callers' requests, an hour
``rate-limit/{…}/ip/{address}``               ``window``               likewise of an IP address (IPv6: /64), a day
``rate-limit/{…}/key/{id}``                   ``window``               likewise of an API key with a rate, an hour
``budget``                                    ``{month}/{scope}``      what is committed, and the open reservations
``reservation/{jobId}``                       ``{run}``                the rows of a run that have claimed their share
``api-key``                                   ``{SHA-256}``            what an API key allows
``usage/{day}``                               ``{owner}/job/{jobId}``  what a job of the day has made and cost
``usage/{day}``                               ``{owner}/call/{id}``    what a call of a text model was charged
``usage/{day}``                               ``{owner}/refused``      how many requests were refused, by error code
============================================  =======================  =================================================
"""

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from msgspec import Struct

from pixelprompt.aws_errors import error_code
from pixelprompt.errors import PermissionDenied, StorageError

RATE_LIMITS = "rate-limit/"
WINDOW = "window"
BUDGETS = "budget"
RESERVATIONS = "reservation/"
API_KEYS = "api-key"
USAGE = "usage/"
# Longest pauses before a read is repeated, in seconds, like those of the SDK.
_PAUSES = (1.0, 2.0)
# Attribute values as DynamoDB's API writes them, each with its type: {"N": "1"}.
Item = Mapping[str, Any]


class ItemKey(Struct, frozen=True):
    """The key of an item."""

    pk: str
    sk: str

    def attributes(self) -> dict[str, Any]:
        """The key as DynamoDB's API writes it."""
        return {"pk": {"S": self.pk}, "sk": {"S": self.sk}}


class Ledger:
    """Items of one table.

    Parameters
    ----------
    client : DynamoDB client
    table : table name
    """

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    def update(
        self,
        key: ItemKey,
        update: str,
        values: Mapping[str, Any],
        condition: str | None = None,
        *,
        names: Mapping[str, str] | None = None,
    ) -> Item | None:
        """Change one item, where the condition holds.

        The SDK repeats a request whose response was lost: the condition must hold for an item that has the change, or
        the caller must know the change in the item for which it doesn't.

        Parameters
        ----------
        update : update expression
        values : its and the condition's values by their placeholders
        condition : condition expression
        names : attributes by their placeholders

        Returns
        -------
        None if the item is changed now, or the item for which the condition doesn't hold

        Raises
        ------
        StorageError : DynamoDB kept failing; the change may have been made
        """
        conditional = {"ConditionExpression": condition, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        named = {"ExpressionAttributeNames": dict(names)} if names else {}
        try:
            self._client.update_item(
                TableName=self._table,
                Key=key.attributes(),
                UpdateExpression=update,
                ExpressionAttributeValues=dict(values),
                **(conditional if condition else {}),
                **named,
            )
        except ClientError as error:
            if error_code(error) == "ConditionalCheckFailedException":
                found: Item = error.response.get("Item", {})
                return found
            raise _ledger_error(error, key.pk) from error
        except BotoCoreError as error:
            raise _ledger_error(error, key.pk) from error
        return None

    def change(self, key: ItemKey, update: str, values: Mapping[str, Any]) -> Item:
        """Change one item in a way that may be repeated; the item as it is then.

        Raises
        ------
        StorageError : DynamoDB kept failing; the change may have been made
        """
        try:
            response = self._client.update_item(
                TableName=self._table,
                Key=key.attributes(),
                UpdateExpression=update,
                ExpressionAttributeValues=dict(values),
                ReturnValues="ALL_NEW",
            )
        except (ClientError, BotoCoreError) as error:
            raise _ledger_error(error, key.pk) from error
        changed: Item = response["Attributes"]
        return changed

    def query(self, pk: str, prefix: str = "") -> Iterator[Item]:
        """The items of a partition key, or those whose sort keys begin with a prefix, in their order.

        Raises
        ------
        StorageError : DynamoDB cannot be read
        """
        # No prefix may be empty.
        condition, values = (" AND begins_with(sk, :prefix)", {":prefix": {"S": prefix}}) if prefix else ("", {})
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression=f"pk = :pk{condition}",
            ExpressionAttributeValues={":pk": {"S": pk}, **values},
            ConsistentRead=True,
        )
        try:
            for page in pages:
                yield from page["Items"]
        except (ClientError, BotoCoreError) as error:
            raise _ledger_error(error, pk) from error

    def read(self, keys: Sequence[ItemKey]) -> list[Item]:
        """The items of some keys, in one request unless DynamoDB throttles it; empty ones where there is none.

        Raises
        ------
        StorageError : DynamoDB cannot be read
        """
        unread = {self._table: {"Keys": [key.attributes() for key in keys], "ConsistentRead": True}}
        found: dict[tuple[str, str], Item] = {}
        # What DynamoDB throttles of several items is left unread, which the SDK does not repeat.
        for pause in (*_PAUSES, None):
            try:
                response = self._client.batch_get_item(RequestItems=unread)
            except (ClientError, BotoCoreError) as error:
                raise _ledger_error(error, keys[0].pk) from error
            found |= {(item["pk"]["S"], item["sk"]["S"]): item for item in response["Responses"].get(self._table, [])}
            unread = response.get("UnprocessedKeys")
            if not unread:
                return [found.get((key.pk, key.sk), {}) for key in keys]
            if pause is not None:
                time.sleep(random.uniform(0, pause))
        throttled = ClientError({"Error": {"Code": "ProvisionedThroughputExceededException"}}, "BatchGetItem")
        raise _ledger_error(throttled, keys[0].pk) from throttled


def _ledger_error(error: ClientError | BotoCoreError, place: str) -> StorageError:
    """Translate a failed request for an item into the service's error."""
    if isinstance(error, ClientError):
        code, operation = error_code(error), error.operation_name
        if code == "AccessDeniedException":
            return PermissionDenied(
                f"DynamoDB refused {operation} on {place}. The role lacks that action on the ledger."
            )
        return StorageError(f"DynamoDB returned {code} to {operation} on {place}.")
    return StorageError(f"Failed to connect to DynamoDB for {place} ({type(error).__name__}).")
