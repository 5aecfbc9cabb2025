"""One model's part of a job."""
