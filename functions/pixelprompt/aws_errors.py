"""The code and the HTTP status in an error of AWS's SDK."""


def error_code(error: object) -> str:
    """AWS's code of an error, such as ``NoSuchKey``; empty where AWS has not responded."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def http_status(error: object) -> int:
    """The HTTP status of an AWS error; 0 without one."""
    response = getattr(error, "response", None)
    metadata = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    return int(metadata.get("HTTPStatusCode", 0))
