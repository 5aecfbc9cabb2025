"""The Lambda functions: runtime, packages, logs, and what each may do."""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jsii
from aws_cdk import AssetHashType, BundlingOptions, DockerImage, Duration, ILocalBundling, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.exceptions import acknowledge, acknowledge_resource, objects_name
from infra.interpreters import interpreter
from infra.ledger import Ledger
from infra.log_groups import ServiceLogGroup
from infra.memory import ALLOCATION, MEMORY
from infra.packages import CORE, PILLOW_PYTHON, PROVIDERS, REFERENCES, SOURCES, BundlingError, install
from infra.secrets import ProviderKeys
from infra.settings import INTERPRETER, PYTHON_VERSIONS, Settings
from infra.storage import Storage
from pixelprompt.deadline import REQUEST_SECONDS
from pixelprompt.storage import keys as object_keys
from pixelprompt.storage.ledger import API_KEYS, BUDGETS, RATE_LIMITS, RESERVATIONS, USAGE

# Where Lambda unpacks an archive.
TASK_ROOT = "/var/task"

# The services that functions/ has clients for; botocore's descriptions of the other 400 are left out.
BOTOCORE_SERVICES = frozenset({"bedrock-runtime", "dynamodb", "lambda", "s3", "secretsmanager", "stepfunctions"})


@jsii.implements(ILocalBundling)
class Bundle:
    """A function's archive: our sources and, with `requirements`, the packages they name and all bytecode.

    The packages are wheels for the Lambda platform, so no Docker and no such machine is needed.
    """

    def __init__(
        self, requirements: Path | None = None, *, platform: str = "", python: str = INTERPRETER, compiles: bool = True
    ) -> None:
        self.compiles = compiles
        self.requirements = requirements
        self.platform = platform
        self.python = python
        self._prepared: TemporaryDirectory[str] | None = None

    @classmethod
    def for_this_machine(cls, requirements: Path) -> "Bundle":
        """The archive as this machine and its Python can run it."""
        machine = platform.machine().replace("arm64", "aarch64")
        system = {"linux": "manylinux_2_28", "darwin": "apple-darwin"}[sys.platform]
        return cls(requirements, platform=f"{machine}-{system}")

    def prepare(self) -> None:
        """Fill a temporary folder, before the CDK asks for it: what is raised in its callback, it makes a traceback of.

        Raises
        ------
        BundlingError : as `fill` does
        """
        self._prepared = TemporaryDirectory(prefix="pixel-prompt-archive-")
        self.fill(Path(self._prepared.name))

    def try_bundle(self, output_dir: str, *, image: DockerImage, **_: Any) -> bool:
        """Fill `output_dir`, as the CDK asks for it, with what is prepared, if anything is."""
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            self.fill(Path(output_dir))
        else:
            with prepared as folder:
                for path in [*Path(folder).iterdir()]:
                    shutil.move(path, output_dir)
        return True

    def fill(self, directory: Path) -> None:
        """Put sources, packages and bytecode into `directory`, the same bytes for the same input.

        Raises
        ------
        BundlingError : uv is missing, a package cannot be installed, or a source does not compile
        SettingsError : this machine has no Python of the version that compiles
        """
        if self.requirements:
            if self.compiles:
                # Said before anything is fetched.
                interpreter(self.python)
            install(self.requirements, directory, platform=self.platform, python=self.python)
            _trim(directory)
        for source in SOURCES.glob("*.py"):
            shutil.copyfile(source, directory / source.name)
        unwanted = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(SOURCES / "pixelprompt", directory / "pixelprompt", ignore=unwanted)
        if self.requirements and self.compiles:
            _compile(directory, self.python)
        # Lambda runs as another user than the one who built the archive, whose umask may be strict.
        for path in directory.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)


def _compile(directory: Path, version: str) -> None:
    """Write the bytecode of all sources beside them: in Lambda's read-only folder no cold start could keep its own.

    The interpreter reads it unchecked, without a look at the source: nothing in an archive changes.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [
        interpreter(version), "-s", "-P", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash",
        "-s", str(directory), "-p", TASK_ROOT, str(directory),
    ]  # fmt: skip
    # The order of the constants of a set follows the hashes.
    result = subprocess.run(
        command,
        check=False,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env={**environment, "PYTHONHASHSEED": "0"},
    )
    if result.returncode:
        # Errors of compiled files are on the standard output.
        raise BundlingError(
            f"Python {version} could not compile the functions' code; check functions/ and the pins: "
            f"{(result.stdout + result.stderr).strip()}"
        )


# Folders of packages that no function reads.
_UNREAD = frozenset({"__pycache__", "tests", "_tests", "test"})
# Of Pillow: AVIF, fonts, and Tk; reference images are PNG, JPEG, and WebP.
_UNUSED_LIBRARIES = (
    "PIL/_avif.*", "PIL/_imagingft.*", "PIL/_imagingtk.*",
    "pillow.libs/libavif-*", "pillow.libs/libfreetype-*", "pillow.libs/libharfbuzz-*", "pillow.libs/libbrotli*",
    "pillow.libs/libpng16-*",
)  # fmt: skip


def _trim(directory: Path) -> None:
    """Remove what no function reads; every megabyte of an archive delays its first start."""
    for unused in _UNUSED_LIBRARIES:
        for path in [*directory.glob(unused)]:
            path.unlink()
    shutil.rmtree(directory / "bin", ignore_errors=True)
    (directory / ".lock").unlink(missing_ok=True)
    for path in (directory / "botocore" / "data").iterdir():
        if path.is_dir() and path.name not in BOTOCORE_SERVICES:
            shutil.rmtree(path)
    for folder, names, _ in os.walk(directory):
        for name in _UNREAD.intersection(names):
            shutil.rmtree(Path(folder, name))
            names.remove(name)
    # Several packages ask importlib.metadata for their own version.
    for path in [*directory.glob("*.dist-info/*")]:
        if path.name != "METADATA":
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _code(scope: Construct, python: str, requirements: Path | None = None, *, compiles: bool = True) -> lambda_.Code:
    bundle = Bundle(requirements, python=python, compiles=compiles)
    # `cdk ls` or `cdk destroy` need no archives.
    if Stack.of(scope).bundling_required:
        bundle.prepare()
    return lambda_.Code.from_asset(
        str(SOURCES),
        asset_hash_type=AssetHashType.OUTPUT,
        bundling=BundlingOptions(
            # Only a fallback, which `Bundle` never leaves to.
            image=DockerImage.from_registry(f"public.ecr.aws/lambda/python:{python}-arm64"),
            local=bundle,
            # The CDK bundles once for equal options, and to it all local bundlers are equal.
            environment={"REQUIREMENTS": requirements.name if requirements else ""},
        ),
    )


class ServiceFunction(lambda_.Function):
    """One Lambda of the service: ``functions/{name}.py`` with its own role and log group.

    The role may write the function's logs and traces and what the ``allow`` methods add, nothing else.
    """

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        settings: Settings,
        storage: Storage,
        code: lambda_.Code,
        memory_size: int,
        timeout: Duration,
        environment: Mapping[str, str],
        reserved_concurrency: int = 0,
        python: str = "",
    ) -> None:
        python = python or settings.python_version
        construct_id = "".join(word.capitalize() for word in name.split("_"))
        function_name = f"pixel-prompt-{settings.stage}-{name.replace('_', '-')}"
        log_group = ServiceLogGroup(
            scope, f"{construct_id}Logs", settings=settings, name=f"/aws/lambda/{function_name}"
        )
        role = iam.Role(
            scope,
            f"{construct_id}Role",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            description=f"What {function_name} may do",
        )
        super().__init__(
            scope,
            construct_id,
            function_name=function_name,
            runtime=getattr(lambda_.Runtime, f"PYTHON_{python.replace('.', '_')}"),
            architecture=lambda_.Architecture.ARM_64,
            handler=f"{name}.handler",
            code=code,
            memory_size=memory_size,
            timeout=timeout,
            role=role,
            log_group=log_group,
            tracing=lambda_.Tracing.ACTIVE,
            reserved_concurrent_executions=reserved_concurrency or None,
            environment={
                "LOG_LEVEL": settings.log_level,
                # The service of each log line and metric.
                "POWERTOOLS_SERVICE_NAME": f"pixel-prompt-{settings.stage}",
                "BUCKET_NAME": storage.bucket.bucket_name,
                **environment,
            },
        )
        self._bucket = storage.bucket
        self.short_name = name.replace("_", "-")
        self.service_role = role
        if python != PYTHON_VERSIONS[-1]:
            acknowledge(self, "L1", "The operator chooses the Python (pythonVersion), and the same made the bytecode.")
        acknowledge_resource(role, "*", "X-Ray's actions know no narrower resource.")
        self.allow(["logs:CreateLogStream", "logs:PutLogEvents"], [log_group.log_group_arn])

    def allow(self, actions: Sequence[str], resources: Sequence[str]) -> None:
        """Let the function do `actions` on `resources`."""
        self.add_to_role_policy(iam.PolicyStatement(actions=actions, resources=resources))

    def allow_objects(self, *actions: str, keys: Sequence[str]) -> None:
        """Let the function do S3 `actions` on the objects whose keys match."""
        self.allow([f"s3:{action}" for action in actions], [self._bucket.arn_for_objects(key) for key in keys])
        for key in keys:
            if "*" in key:
                reason = "Keys hold ids, which are not known in advance; no prefix is narrower."
                acknowledge_resource(self.service_role, objects_name(self._bucket, key), reason)

    def allow_items(self, *actions: str, table: Ledger, keys: str) -> None:
        """Let the function do DynamoDB `actions` on the items of a table whose partition keys match."""
        self.add_to_role_policy(
            iam.PolicyStatement(
                actions=[f"dynamodb:{action}" for action in actions],
                resources=[table.table_arn],
                conditions={"ForAllValues:StringLike": {"dynamodb:LeadingKeys": [keys]}},
            )
        )


class Functions(Construct):
    """The functions of the service and what each may do with objects, keys and each other.

    Attributes
    ----------
    gallery : None where the deployment has no gallery
    sweep : settles what was left reserved; None where nothing is charged to a budget
    usage : None where nothing is charged to a budget
    authorize : decides on API keys; None where callers have none
    all : every function that is deployed
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        settings: Settings,
        storage: Storage,
        ledger: Ledger | None,
        provider_keys: ProviderKeys,
        bedrock_models: Mapping[str, str],
    ) -> None:
        super().__init__(scope, id)
        if settings.target == "local":
            # The emulator runs the functions with an interpreter that has the same packages installed.
            core = providers = references = _code(self, settings.python_version)
            references_python = settings.python_version
        else:
            if Stack.of(self).bundling_required:
                # A missing interpreter is reported before packages are gathered for it.
                interpreter(settings.python_version)
            core = _code(self, settings.python_version, CORE)
            providers = _code(self, settings.python_version, PROVIDERS)
            references_python = max(settings.python_version, PILLOW_PYTHON)
            # This machine may lack another Python; without bytecode the first start takes longer.
            compiles = references_python == settings.python_version
            references = _code(self, references_python, REFERENCES, compiles=compiles)

        key_hosts = {"KEY_HOSTS": json.dumps(dict(settings.key_hosts), sort_keys=True)}
        keys = {
            "PROVIDER_SECRET": provider_keys.arn,
            "PROVIDER_ENDPOINTS": json.dumps(dict(settings.provider_endpoints), sort_keys=True),
            **key_hosts,
        }
        cors = {"CORS_ORIGINS": _cors_origins(settings, storage)}
        delivery = {"CLOUDFRONT_DOMAIN": storage.domain} if settings.has_public_images else {}
        # Who sees the galleries of others may also see and edit their images.
        gallery = {"GALLERY": settings.gallery}
        # The text model that enhances prompts judges them as well, where one is asked.
        moderation = {"MODERATION": settings.moderation, "PROMPT_MODEL_INDEX": settings.prompt_model_index}

        def function(
            name: str,
            environment: Mapping[str, str],
            *,
            timeout: int,
            code: lambda_.Code = core,
            reserved_concurrency: int = 0,
            python: str = "",
        ) -> ServiceFunction:
            return ServiceFunction(
                self,
                name,
                settings=settings,
                storage=storage,
                code=code,
                memory_size=MEMORY[name],
                timeout=Duration.seconds(timeout),
                environment=environment,
                reserved_concurrency=reserved_concurrency,
                python=python,
            )

        counts = {"LEDGER_TABLE": ledger.table_name} if ledger else {}
        charges = counts if settings.has_charges else {}
        budgets_of_all = _amounts({"DAILY_BUDGET": settings.daily_budget, "MONTHLY_BUDGET": settings.monthly_budget})
        budgets = {
            **({"CHARGES": "true"} if settings.has_charges else {}),
            **budgets_of_all,
            **_amounts({"UNKNOWN_PRICE_CEILING": settings.unknown_price_ceiling}),
        }
        callers = {**counts, "IP_INCLUDE": settings.ip_include, "TRUST_BODY_IP": str(settings.trust_body_ip).lower()}
        limits = {
            "GLOBAL_LIMIT": str(settings.global_limit),
            "IP_LIMIT": str(settings.ip_limit),
            "API_URL": settings.api_url,
            **callers,
            **budgets,
        }
        # What follows an execution has five minutes.
        longest_job = {"MAX_JOB_SECONDS": str(settings.execution_seconds + 300)}
        self.submit = function(
            "submit",
            {
                **limits,
                **keys,
                **cors,
                **moderation,
            },
            timeout=REQUEST_SECONDS,
            # A model that judges prompts is asked with its provider's SDK.
            code=core if settings.moderation == "keyword" else providers,
        )
        self.generate = function(
            "generate",
            {**keys, **charges},
            timeout=240,
            code=providers,
            reserved_concurrency=settings.reserved_concurrency,
        )
        # The downloads of a job have 120 s.
        self.prepare_references = function(
            "prepare_references", {**ALLOCATION, **gallery}, timeout=150, code=references, python=references_python
        )
        self.record_failure = function("record_failure", {}, timeout=30)
        self.finish = function("finish", charges, timeout=60)
        # It runs every five minutes.
        self.sweep = function("sweep", {**charges, **longest_job}, timeout=240) if settings.has_charges else None
        self.status = function(
            "status",
            {
                "FINISH_FUNCTION": self.finish.function_name,
                **longest_job,
                "STATUS_WAIT": str(settings.status_wait),
                # This function responds on every path that has no route.
                **gallery,
                **({"USAGE": "true"} if settings.has_charges else {}),
                **delivery,
                **cors,
            },
            timeout=REQUEST_SECONDS,
        )
        self.enhance = function(
            "enhance",
            {
                "ENHANCE_LIMIT": str(settings.enhance_limit),
                "ENHANCE_IP_LIMIT": str(settings.enhance_ip_limit),
                **callers,
                **budgets,
                **keys,
                **cors,
                **moderation,
            },
            timeout=REQUEST_SECONDS,
            code=providers,
        )

        self.upload = function(
            "upload",
            {
                "UPLOAD_LIMIT": str(settings.upload_limit),
                "UPLOAD_IP_LIMIT": str(settings.upload_ip_limit),
                **callers,
                **cors,
            },
            timeout=REQUEST_SECONDS,
        )
        self.cancel = function("cancel", {**delivery, **cors}, timeout=REQUEST_SECONDS)
        priced = key_hosts if settings.has_charges else {}
        self.retry = function("retry", {**limits, **priced, **cors}, timeout=REQUEST_SECONDS)
        self.models = function(
            "models", {"PROMPT_MODEL_INDEX": settings.prompt_model_index, **keys, **cors}, timeout=REQUEST_SECONDS
        )
        self.gallery = (
            function("gallery", {**gallery, **delivery, **cors}, timeout=REQUEST_SECONDS)
            if settings.has_gallery
            else None
        )
        self.usage = (
            function(
                "usage",
                {**counts, **budgets_of_all, "CONFIRM_ABOVE": _plain(settings.confirm_above), **cors},
                timeout=REQUEST_SECONDS,
            )
            if settings.has_charges
            else None
        )
        self.authorize = function("authorize", counts, timeout=10) if settings.api_auth == "keys" else None
        galleries = (self.gallery,) if self.gallery else ()
        sweeps = (self.sweep,) if self.sweep else ()
        usages = (self.usage,) if self.usage else ()
        authorizers = (self.authorize,) if self.authorize else ()

        self.all = (
            self.submit,
            self.prepare_references,
            self.generate,
            self.record_failure,
            self.finish,
            self.status,
            self.enhance,
            self.upload,
            self.cancel,
            self.retry,
            self.models,
            *galleries,
            *sweeps,
            *usages,
            *authorizers,
        )

        for reader in self.all:
            if ledger and reader in (self.upload, *usages, *authorizers):
                # It reads nothing in the bucket.
                continue
            # Each reads keys that may be missing. S3 returns 404 only to a role that may list the bucket, else 403
            # (https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html). The grant has no condition on
            # `s3:prefix`, because a GET carries none.
            reader.allow(["s3:ListBucket"], [storage.bucket.bucket_arn])
        for reader in (self.submit, self.generate, self.enhance, self.models):
            reader.allow(["secretsmanager:GetSecretValue"], [provider_keys.arn])
            # The operator's overlay of the model catalogue.
            reader.allow_objects("GetObject", keys=[object_keys.OVERLAY_KEY])
        for writer in (
            self.submit,
            self.prepare_references,
            self.generate,
            self.record_failure,
            self.finish,
            self.cancel,
            self.retry,
            *sweeps,
        ):
            writer.allow_objects("GetObject", "PutObject", keys=[object_keys.STATUS_KEYS])

        for counter, counted in (
            (self.submit, "jobs"),
            (self.retry, "jobs"),
            (self.enhance, "enhance"),
            (self.upload, "uploads"),
        ):
            if ledger:
                keys_of_windows = f"{RATE_LIMITS}{counted}/*"
                counter.allow_items("UpdateItem", "BatchGetItem", table=ledger, keys=keys_of_windows)
            else:
                counter.allow_objects("GetObject", "PutObject", keys=[object_keys.LIMIT_KEYS[counted]])
        if ledger and settings.has_charges:
            for reserver in (self.submit, self.retry, self.enhance):
                reserver.allow_items("UpdateItem", "BatchGetItem", table=ledger, keys=BUDGETS)
            self.finish.allow_items("UpdateItem", table=ledger, keys=BUDGETS)
            for sweep in sweeps:
                sweep.allow_items("UpdateItem", "Query", table=ledger, keys=BUDGETS)
            for claimer in (self.submit, self.retry, self.generate, self.finish, *sweeps):
                claimer.allow_items("UpdateItem", table=ledger, keys=f"{RESERVATIONS}*")
            for recorder in (self.submit, self.retry, self.enhance, self.finish, *sweeps):
                recorder.allow_items("UpdateItem", table=ledger, keys=f"{USAGE}*")
            for usage in usages:
                usage.allow_items("Query", table=ledger, keys=f"{USAGE}*")
                usage.allow_items("BatchGetItem", table=ledger, keys=BUDGETS)
                if self.authorize:
                    # Admins see the names of keys.
                    usage.allow_items("Query", table=ledger, keys=API_KEYS)
            for authorizer in authorizers:
                authorizer.allow_items("BatchGetItem", table=ledger, keys=API_KEYS)
            # A run is reserved at the prices of the operator's catalogue as well.
            self.retry.allow_objects("GetObject", keys=[object_keys.OVERLAY_KEY])
        self.submit.allow_objects("GetObject", "PutObject", keys=[f"{object_keys.IDEMPOTENCY}*"])

        self.submit.allow_objects("PutObject", keys=[object_keys.GIVEN_REFERENCES_KEYS])
        self.prepare_references.allow_objects(
            "GetObject",
            keys=[object_keys.GIVEN_REFERENCES_KEYS, f"{object_keys.UPLOADS}*", f"{object_keys.IMAGES}*"],
        )
        self.prepare_references.allow_objects("GetObject", "PutObject", keys=[object_keys.PREPARED_REFERENCES_KEYS])
        self.generate.allow_objects("GetObject", keys=[object_keys.PREPARED_REFERENCES_KEYS])

        self.generate.allow_objects("PutObject", keys=[object_keys.RESUME_KEYS])
        self.generate.allow_objects(
            "PutObject",
            keys=[
                f"{prefix}*"
                for prefix in (object_keys.RECORDS, object_keys.IMAGES, object_keys.INDEX, object_keys.OWNED_INDEX)
            ],
        )
        arns = [f"arn:aws:bedrock:{region}::foundation-model/{model}" for model, region in bedrock_models.items()]
        if arns:
            self.generate.allow(["bedrock:InvokeModel"], arns)

        for resumer in (self.generate, self.record_failure, self.retry):
            resumer.allow_objects("GetObject", keys=[object_keys.RESUME_KEYS])

        for reader in (self.status, *galleries):
            reader.allow_objects("GetObject", keys=[object_keys.STATUS_KEYS])
        self.status.allow(["lambda:InvokeFunction"], [self.finish.function_arn])
        if not settings.has_public_images:
            # A presigned URL allows what its signer may do.
            for signer in (self.status, self.cancel, *galleries):
                signer.allow_objects("GetObject", keys=[f"{object_keys.IMAGES}*"])

        self.enhance.allow_objects("GetObject", "PutObject", keys=[f"{object_keys.ENHANCED}*"])
        # A presigned form allows what its signer may do.
        self.upload.allow_objects("PutObject", keys=[f"{object_keys.UPLOADS}*"])


def _amounts(dollars: Mapping[str, float]) -> dict[str, str]:
    """Amounts by the names of environment variables; one that is 0 is not set."""
    return {name: _plain(amount) for name, amount in dollars.items() if amount}


def _plain(number: float) -> str:
    """A decimal number without an exponent, such as ``10`` or ``0.5``."""
    return format(Decimal(repr(number)).normalize(), "f")


def _cors_origins(settings: Settings, storage: Storage) -> str:
    """The origins that browsers may call from: those of the settings, and the page's own."""
    if settings.cors_origins == "*" or not settings.serves_page:
        return settings.cors_origins
    return f"{settings.cors_origins},https://{storage.domain}"
