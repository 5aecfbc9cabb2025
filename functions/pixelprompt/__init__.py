"""The library under the Lambdas."""

from pixelprompt import cold_start

cold_start.begin()
