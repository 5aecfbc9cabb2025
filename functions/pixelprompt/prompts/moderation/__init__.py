"""Moderation: decides whether a prompt may go to the image models."""
