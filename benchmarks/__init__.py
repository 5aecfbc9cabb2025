"""Benchmarks of Pixel Prompt, beside floors that are measured in the same run."""
