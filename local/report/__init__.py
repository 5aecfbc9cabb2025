"""Reports of a run: the contact sheet, the trace of an execution, logs, how to call the API."""
