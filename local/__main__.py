"""The cloud on a laptop: `python -m local --help`."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from infra import caches
from local import lock, paths, processes, terminal
from local.progress import Progress

if TYPE_CHECKING:
    from local.cloud import Cloud
    from local.options import Options
    from pixelprompt.models.registry import ModelRegistry

DEFAULT_PROMPT = "a lighthouse in fog"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its exit code."""
    terminal.prepare()
    parser = argparse.ArgumentParser(prog=".venv/bin/python -m local", description="The cloud on a laptop.")
    parser.add_argument("--directory", type=Path, default=paths.STATE, help="where the cloud lives (default .local)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("up", help="start the cloud, or bring it up to date")
    commands.add_parser("down", help="stop it")
    commands.add_parser("status", help="say what runs, and how to call it; exit code 1 where nothing does")
    logs = commands.add_parser("logs", help="follow the logs of the Lambdas, the emulator and the simulators")
    logs.add_argument("--job", default="", metavar="ID", help="only the lines that name this job")
    logs.add_argument("--no-follow", action="store_true", help="print what there is, then end")
    demo = commands.add_parser("demo", help="send one prompt to all models and collect the pictures")
    demo.add_argument("prompt", nargs="*", help=f"default: $PROMPT, or {DEFAULT_PROMPT!r}")
    demo.add_argument("--out", type=Path, default=paths.IMAGES, help="where the pictures go (default out)")
    demo.add_argument("--keep", action="store_true", help="leave a cloud that had to be started running")
    synth = commands.add_parser("synth", help="write the CloudFormation templates")
    synth.add_argument("targets", nargs="*", metavar="TARGET", help="aws, local; default: both")
    synth.add_argument("--stage", default="dev", help="which one for aws (default dev); for local it is dev")
    keys = commands.add_parser("keys", help="put provider keys into the secret of a deployment in your AWS account")
    keys.add_argument("--stage", default="dev", help="which deployment (default dev)")
    keys.add_argument("--from", dest="source", metavar="SECRET", default="", help="copy the keys of another secret")
    doctor = commands.add_parser("doctor", help="check keys, models and quotas of a deployment; exit code 1 on any ✗")
    _add_deployment(doctor)
    doctor.add_argument("--all", action="store_true", help="also the models that a job takes only when it names them")
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
        help="open or update a pull request with it on GitHub; FOLDER of --save: without comparing anew",
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
    smoke.add_argument("--url", default="", help="the API's address (default: of the cloud that runs here)")
    smoke.add_argument("--stage", help="the API of a stage in your AWS account")
    openapi = commands.add_parser("openapi", help="write the description of the HTTP API anew, from the code")
    openapi.add_argument("--check", action="store_true", help="only say whether it is up to date; exit code 1 if not")
    grants = commands.add_parser("grants", help="write the table of what each role may do anew, from the stack")
    grants.add_argument("--check", action="store_true", help="only say whether it is up to date; exit code 1 if not")
    commands.add_parser("nag", help="check the stack, in every shape, against cdk-nag's rules")
    commands.add_parser("audit", help="look up known weaknesses of all installed packages")
    fuzz = commands.add_parser("fuzz", help="send generated requests to every route of a cloud of its own")
    fuzz.add_argument("--seconds", type=int, default=60, help="for how long (default 60)")
    options = parser.parse_args(arguments)

    processes.end_on_signals()
    try:
        caches.use()
        code = _run(options)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except EOFError:
        print("Nothing is done: the input has ended.", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read our output has gone; so must the rest of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        # A full disk, a folder that may not be written into: whatever it names is not ours to mend.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"Failed: {error}.", file=sys.stderr)
        return 1


def _add_deployment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stage", help="which one in your AWS account (default: the cloud that runs here, or dev)")
    parser.add_argument("--local", action="store_true", help="only the cloud that runs here")


def _run(options: argparse.Namespace) -> int:
    progress = Progress()
    if options.command in ("up", "demo"):
        progress("looking for a running cloud")
    # Imported late, so that the line above appears at once.
    from infra.context import SettingsError
    from local import cdk
    from local.cloud import CloudError
    from local.confirmation import Unconfirmed
    from local.keys import KeysError
    from local.options import OptionError

    try:
        match options.command:
            case "up":
                return _up(options, progress)
            case "down":
                return _down(options)
            case "status":
                return _status(options)
            case "logs":
                return _logs(options)
            case "demo":
                return _demo(options, progress)
            case "keys":
                from local import keys

                return keys.run(options.stage, os.environ, source=options.source)
            case "doctor":
                return _doctor(options)
            case "models-check":
                return _models_check(options)
            case "models-refresh":
                from local import models_refresh

                names = ("wheels", "apply", "patch", "check", "save", "propose")
                chosen = {name: getattr(options, name) for name in names}
                return models_refresh.run(os.environ, **chosen, progress=progress)
            case "deploy" | "diff" | "destroy" | "bootstrap" | "pipeline-role":
                return _stacks(options, progress)
            case "mark-good" | "rollback":
                return _commits(options, progress)
            case "smoke":
                return _smoke(options)
            case "openapi":
                from local import openapi

                return openapi.run(check=options.check)
            case "grants":
                from local import grants

                return grants.run(check=options.check)
            case "audit":
                from local import audit

                return audit.run(os.environ, progress)
            case "nag":
                from local import nag

                return nag.run()
            case "fuzz":
                from local import fuzz

                return fuzz.run(options.seconds, progress)
            case _:
                return _synth(options, progress)
    except (CloudError, KeysError, OptionError, SettingsError, Unconfirmed, cdk.CdkError) as error:
        print(error, file=sys.stderr)
        return 1


def _up(options: argparse.Namespace, progress: Progress) -> int:
    from local import cloud
    from local.usage import usage

    chosen = _options(options.directory)
    running = cloud.start(options.directory, options=chosen, keep=True, progress=progress)
    progress("the cloud is up" if running.changed else "the cloud is up already, and up to date")
    print(usage(running.endpoints))
    return 0


def _down(options: argparse.Namespace) -> int:
    from local import cloud

    print("The cloud is stopped." if cloud.stop(options.directory) else "Nothing is running.")
    return 0


def _status(options: argparse.Namespace) -> int:
    from local import cloud
    from local.usage import usage

    running = cloud.find(options.directory)
    print(usage(running.endpoints) if running else cloud.describe(options.directory))
    return 0 if running else 1


def _logs(options: argparse.Namespace) -> int:
    from local import cloud, logs

    running = cloud.find(options.directory)
    if not running:
        print(cloud.describe(options.directory), file=sys.stderr)
        return 1
    with contextlib.suppress(KeyboardInterrupt), cloud.while_running():
        logs.show(running, job=options.job, follow=not options.no_follow)
    return 0


def _demo(options: argparse.Namespace, progress: Progress) -> int:
    from local import cloud
    from local.demo import prompt_of, require_folder, run

    prompt = prompt_of(options.prompt, os.environ, DEFAULT_PROMPT)
    require_folder(options.out)
    chosen = _options(options.directory)
    # A cloud that runs stays as its operator started it, but with today's sources.
    running = cloud.start(options.directory, options=chosen, join=True, keep=options.keep, progress=progress)
    try:
        with cloud.while_running():
            faulted = chosen.faulted(_models(running)) if chosen.faults else []
            code = run(running, prompt, options.out, progress, faulted)
        stays = running.is_kept()
        print(f"The page: {running.endpoints['page'] if stays else 'make up serves it; watch such a job in a browser'}")
        return code
    finally:
        if running.leave():
            progress("the cloud is stopped")


def _options(directory: Path) -> Options:
    """What the environment asks for, of a new cloud or the one that runs in a folder."""
    from local import cloud
    from local.options import Options

    chosen = Options.from_environment(os.environ)
    return chosen.resolved(_models(cloud.find(directory))) if chosen.faults else chosen


def _models(running: Cloud | None) -> ModelRegistry:
    """The models of a cloud, those of an overlay in its bucket included; without a cloud the built-in ones."""
    from local import deployment
    from pixelprompt.errors import ConfigurationError, StorageError
    from pixelprompt.models.registry import ModelRegistry
    from pixelprompt.storage.documents import DocumentStore
    from pixelprompt.storage.keys import OVERLAY_KEY

    if running:
        try:
            found = DocumentStore(running.client("s3"), running.endpoints["bucket"]).read(OVERLAY_KEY)
            hosts = deployment.of_cloud(running).key_hosts()
            return ModelRegistry.load(overlay=found.value if found else None, key_hosts=hosts)
        except (ConfigurationError, StorageError):
            # The service goes on without it as well.
            pass
    return ModelRegistry.load()


def _doctor(options: argparse.Namespace) -> int:
    from local import doctor

    chosen = {"stage": options.stage, "local": options.local}
    return doctor.run(options.directory, os.environ, **chosen, every=options.all)


def _models_check(options: argparse.Namespace) -> int:
    from local import models_check

    chosen = {"stage": options.stage, "local": options.local, "bucket": options.bucket}
    return models_check.run(options.file, options.directory, os.environ, put=options.put, **chosen)


def _stacks(options: argparse.Namespace, progress: Progress) -> int:
    from local import commits, deploy, pull_request

    environment = os.environ
    if options.command == "bootstrap":
        deploy.bootstrap(deploy.Account.of_caller(environment), options.directory, environment, progress)
        return 0
    if options.command == "pipeline-role":
        target = deploy.Target.pipeline(environment, options.directory)
    else:
        target = deploy.Target.stage(options.stage, environment.get("CDK", ""), environment, options.directory)
    match options.command:
        case "diff":
            found = deploy.diff(target, progress)
            print(found)
            if options.comment:
                pull_request.comment(f"What deploying {target.stack} changes", found, environment)
        case "destroy":
            if deploy.destroy(target, environment, progress, answer=options.stage):
                commits.forget(target.account, options.stage)
        case _:
            if options.command == "deploy" and options.forward:
                commits.require_forward(target.account, options.stage)
            deploy.deploy(target, environment, progress)
    return 0


def _commits(options: argparse.Namespace, progress: Progress) -> int:
    from local import commits, deploy, deployment

    account = deploy.Account.of_caller(os.environ)
    if options.command == "mark-good":
        # Only what is deployed can be good.
        deployment.on_aws(options.stage, os.environ)
        print(f"{commits.mark_good(account, options.stage)} is the good commit of {options.stage} in {account}.")
    else:
        commits.roll_back(account, options.stage, os.environ, progress)
    return 0


def _smoke(options: argparse.Namespace) -> int:
    from local import cloud, deployment, smoke

    url, environment, gallery = options.url, dict(os.environ), ""
    if not url and options.stage:
        deployed = deployment.on_aws(options.stage, os.environ)
        url, gallery = deployed.api, deployed.gallery
    elif not url and (running := cloud.find(options.directory)):
        url = running.endpoints["api"]
        if certificate := running.endpoints["certificate"]:
            environment["AWS_CA_BUNDLE"] = certificate
    if not url:
        print(
            "Say what to try out: make smoke API_URL=https://…, or STAGE=dev for a stage in your AWS account; "
            "or start a cloud here (`make up`).",
            file=sys.stderr,
        )
        return 1
    return smoke.command(url, environment, gallery=gallery)


def _synth(options: argparse.Namespace, progress: Progress) -> int:
    from infra import sbom
    from infra.settings import Settings
    from local import cdk
    from local.options import Options

    settings = Options.from_environment(os.environ).setting_context()
    contexts = {
        target: {**settings, "target": target, "stage": "dev" if target == "local" else options.stage}
        for target in options.targets or ["aws", "local"]
    }
    for context in contexts.values():
        # Said here, a mistake is one sentence rather than the end of a log.
        Settings.from_context({**cdk.default_context(), **context})
    folder = options.directory / "synth"
    folder.mkdir(parents=True, exist_ok=True)
    with lock.held(str(folder / "lock"), "is synthesizing into the same folder"):
        for target, context in contexts.items():
            progress(f"synthesising the stage {context['stage']} for {target}")
            output = folder / target
            # The template of another stage would stay beside this one.
            shutil.rmtree(output, ignore_errors=True)
            environment = cdk.online_environment()
            with cdk.synthesise(output, context, environment=environment, log=folder / f"{target}.log") as command:
                command.wait()
            # For the laptop, the functions run on the packages of .venv.
            bills = sbom.write(output) if target == "aws" else []
            for path in [*sorted(output.glob("*.template.json")), *bills]:
                progress(f"written: {shlex.quote(os.path.relpath(path))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
