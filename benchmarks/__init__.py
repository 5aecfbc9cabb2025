"""How fast Pixel Prompt is, beside floors that are measured in the same run."""
