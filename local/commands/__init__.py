"""The commands of `python -m local`: one module each; `run` takes the parsed arguments, returns the exit code."""
