"""Stages in an AWS account: deploy, compare, roll back, and their keys."""
