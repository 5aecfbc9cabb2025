"""Reference images of a job, made ready for the providers."""
