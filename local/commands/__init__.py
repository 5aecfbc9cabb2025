"""The commands of `python -m local`: one module each; `run` accepts the parsed arguments, returns the exit code."""
