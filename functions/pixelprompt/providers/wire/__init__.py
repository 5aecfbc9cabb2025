"""Wire-level code that the adapters share."""
