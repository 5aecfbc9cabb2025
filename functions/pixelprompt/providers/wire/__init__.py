"""What the adapters share on the wire."""
