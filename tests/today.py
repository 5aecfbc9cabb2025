"""The day on which tests take place that depend on one, whatever the day of their run."""

from datetime import date

# Before the next shutdown of a model in the catalog and the simulators.
TODAY = date(2026, 11, 23)
