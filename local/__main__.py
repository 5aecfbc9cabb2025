"""The cloud on a laptop: `python -m local --help`."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

from infra import caches
from local import paths, processes, terminal
from local.progress import Progress

DEFAULT_PROMPT = "a lighthouse in fog"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its exit code."""
    terminal.prepare()
    parsed = _parser().parse_args(arguments)

    processes.end_on_signals()
    try:
        caches.use()
        code = _run(parsed)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except EOFError:
        print("Nothing is done: the input has ended.", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of our output has closed it; drop the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        # A full disk, a folder without write permission: the user must fix it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"Failed: {error}.", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=".venv/bin/python -m local", description="The cloud on a laptop.")
    parser.add_argument("--directory", type=Path, default=paths.STATE, help="where the cloud lives (default .local)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("up", help="start the cloud, or bring it up to date")
    commands.add_parser("down", help="stop it")
    commands.add_parser("status", help="say what runs, and how to call it; exit code 1 where nothing does")
    logs = commands.add_parser("logs", help="follow the logs of the Lambdas, the emulator and the simulators")
    logs.add_argument("--job", default="", metavar="ID", help="only the lines that name this job")
    logs.add_argument("--no-follow", action="store_true", help="print what there is, then end")
    demo = commands.add_parser("demo", help="send one prompt, and the image at $IMAGE if set, to all models")
    demo.add_argument("prompt", nargs="*", help=f"default: $PROMPT, or {DEFAULT_PROMPT!r}")
    demo.set_defaults(default_prompt=DEFAULT_PROMPT)
    demo.add_argument("--out", type=Path, default=paths.IMAGES, help="folder for the images (default out)")
    demo.add_argument("--keep", action="store_true", help="leave a cloud that had to be started running")
    synth = commands.add_parser("synth", help="write the CloudFormation templates")
    synth.add_argument("targets", nargs="*", metavar="TARGET", help="aws, local; default: both")
    synth.add_argument("--stage", default="dev", help="which one for aws (default dev); for local it is dev")
    keys = commands.add_parser("keys", help="put provider keys into the secret of a deployment in your AWS account")
    keys.add_argument("--stage", default="dev", help="which deployment (default dev)")
    keys.add_argument("--from", dest="source", metavar="SECRET", default="", help="copy the keys of another secret")
    key = commands.add_parser("key", help="make an API key for a caller of a deployment; only it is printed on stdout")
    _add_key_name(key)
    key.add_argument("--daily", default="", metavar="DAILY", help="most that its jobs may cost in a day, in US dollars")
    key.add_argument("--monthly", default="", metavar="MONTHLY", help="likewise in a calendar month")
    key.add_argument("--rate", default="", metavar="RATE", help="most jobs in an hour")
    key.add_argument("--models", default="", metavar="MODELS", help="the only ones it may ask: names or IDs, by commas")
    key.add_argument("--expires", default="", metavar="EXPIRES", help="its last day, UTC, such as 2027-01-31")
    key.add_argument("--admin", nargs="?", const="1", default="", metavar="ADMIN", help="1: may see what others made")
    for name, what in (
        ("key-rotate", "replace the key of a caller by a new one, which is printed on stdout"),
        ("key-disable", "let nobody use the key of a caller any more"),
    ):
        _add_key_name(commands.add_parser(name, help=what))
    key_list = commands.add_parser("key-list", help="list the API keys of a deployment, and what each allows")
    _add_deployment(key_list)
    doctor = commands.add_parser("doctor", help="check keys, models and quotas of a deployment; exit code 1 on any ✗")
    _add_deployment(doctor)
    doctor.add_argument("--all", action="store_true", help="also the models that a job uses only when it names them")
    models_check = commands.add_parser("models-check", help="check an overlay of the model catalogue")
    models_check.add_argument("file", type=Path, metavar="FILE", help="the overlay, a JSON file")
    models_check.add_argument("--put", action="store_true", help="then upload it into the bucket of the deployment")
    models_check.add_argument("--bucket", metavar="NAME", help="with --put: another bucket of your AWS account")
    _add_deployment(models_check)
    refresh = commands.add_parser("models-refresh", help="compare the model catalogue with public price lists")
    refresh.add_argument("--wheels", type=Path, metavar="FOLDER", help="with the wheels of the lists: download none")
    refresh.add_argument("--apply", action="store_true", help="write what is corroborated into the catalogue")
    refresh.add_argument("--patch", type=Path, metavar="FILE", help="where to write the patch")
    refresh.add_argument("--check", action="store_true", help="exit code 1 where something corroborated differs")
    refresh.add_argument("--save", type=Path, metavar="FOLDER", help="where to write what --propose needs")
    refresh.add_argument(
        "--propose", type=Path, nargs="?", const=True, default=False, metavar="FOLDER",
        help="open or update a pull request with it on GitHub; FOLDER of --save: without another comparison",
    )  # fmt: skip
    for name, what in (
        ("deploy", "deploy a stage: say what changes, ask, do it"),
        ("diff", "say what a deployment of a stage would change"),
        ("destroy", "delete a stage: say what goes and what stays, ask, do it"),
        ("mark-good", "remember the commit of this checkout as the good one of a stage"),
        ("rollback", "deploy the last good commit of a stage"),
    ):
        command = commands.add_parser(name, help=what)
        command.add_argument("--stage", default="dev", help="which one in your AWS account (default dev)")
        if name == "diff":
            command.add_argument("--comment", action="store_true", help="also on GitHub, at the merged pull request")
        if name == "deploy":
            command.add_argument("--forward", action="store_true", help="refuse a commit older than the good one")
    commands.add_parser("bootstrap", help="prepare your AWS account for the CDK, once")
    commands.add_parser("pipeline-role", help="deploy the roles of the pipeline on GitHub, once")
    smoke = commands.add_parser("smoke", help="try a deployment out, over HTTP; exit code 1 where something is wrong")
    smoke.add_argument("--url", default="", help="URL of the API (default: of the cloud that runs here)")
    smoke.add_argument("--stage", help="the API of a stage in your AWS account")
    openapi = commands.add_parser("openapi", help="update the description of the HTTP API, from the code")
    openapi.add_argument("--check", action="store_true", help="only say whether it is up to date; exit code 1 if not")
    grants = commands.add_parser("grants", help="update the table of what each role may do, from the stack")
    grants.add_argument("--check", action="store_true", help="only say whether it is up to date; exit code 1 if not")
    commands.add_parser("nag", help="check the stack, in every shape, against cdk-nag's rules")
    commands.add_parser("audit", help="look up known weaknesses of all installed packages")
    fuzz = commands.add_parser("fuzz", help="send generated requests to every route of a cloud of its own")
    fuzz.add_argument("--seconds", type=int, default=60, help="for how long (default 60)")
    return parser


def _add_deployment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stage", help="which one in your AWS account (default: the cloud that runs here, or dev)")
    parser.add_argument("--local", action="store_true", help="only the cloud that runs here")


def _add_key_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default="", metavar="NAME", help="whose key it is, such as web-team")
    _add_deployment(parser)


def _run(arguments: argparse.Namespace) -> int:
    progress = Progress()
    if arguments.command in ("up", "demo"):
        progress("looking for a running cloud")
    # Imported late, so that the line above appears at once.
    from infra.context import SettingsError
    from local.aws.api_keys import ApiKeyError
    from local.aws.keys import KeysError
    from local.cdk import CdkError
    from local.cloud import CloudError
    from local.confirmation import Unconfirmed
    from local.options import OptionError

    command = importlib.import_module(f"local.commands.{arguments.command.replace('-', '_')}")
    try:
        code: int = command.run(arguments, progress)
        return code
    except (CloudError, ApiKeyError, KeysError, OptionError, SettingsError, Unconfirmed, CdkError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
