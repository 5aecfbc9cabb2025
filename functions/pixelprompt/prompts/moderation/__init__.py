"""Which prompts may go to the image models."""
