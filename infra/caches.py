"""Where tools keep downloads and temporary files: in the checkout, so that HOME and /tmp stay as they are.

`local.prepare` imports this module under whatever `python3` there is, hence the old-fashioned syntax.
"""

import os
import tempfile

_LOCAL = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), ".local")

# The folders by the environment variables that their tools read them from.
VARIABLES = {
    "CDK_HOME": os.path.join(_LOCAL, "cache", "cdk"),
    # The default one is refused by jsii where the group may write into it, as the umask 0002 has it.
    "JSII_RUNTIME_PACKAGE_CACHE_ROOT": os.path.join(_LOCAL, "cache", "jsii"),
    "NODE_COMPILE_CACHE": os.path.join(_LOCAL, "cache", "node"),
    "TMPDIR": os.path.join(_LOCAL, "tmp"),
    "UV_CACHE_DIR": os.path.join(_LOCAL, "cache", "uv"),
    "npm_config_cache": os.path.join(_LOCAL, "cache", "npm"),
}


def use() -> None:
    """Point this process, and every command that it starts, at these folders; the caller's own variables hold.

    The temporary folder is made, because Python falls back to another one where it is missing.
    """
    # npm reads its variables in any case.
    chosen = {name.upper() for name, value in os.environ.items() if value}
    os.environ.update({name: folder for name, folder in VARIABLES.items() if name.upper() not in chosen})
    if os.environ["TMPDIR"] == VARIABLES["TMPDIR"]:
        os.makedirs(VARIABLES["TMPDIR"], exist_ok=True)
        # Whatever asked before us has made Python remember another one.
        tempfile.tempdir = None
