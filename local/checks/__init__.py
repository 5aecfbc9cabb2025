"""Checks of the project itself, and the files that are made from its code."""
