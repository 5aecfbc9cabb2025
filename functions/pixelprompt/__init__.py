"""The library under the Lambdas."""
