"""A deployment in the middle of a running job."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from local.cloud.fingerprint import PACKAGES, SOURCES
from local.paths import ROOT
from pixelprompt.models.registry import ModelRegistry

from .conftest import Service, put_canaries

HEADER = '"Cache-Control": "no-cache"}'


def next_release(directory: Path) -> Path:
    """A copy of this checkout in which every function has another archive and the workflow another definition."""
    for name in (*SOURCES, *PACKAGES, "local", "web"):
        source, target = ROOT / name, directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        else:
            shutil.copyfile(source, target)
    for name in ("node_modules", ".local/cache"):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).symlink_to(ROOT / name)
    for name, text, changed in (
        ("functions/status.py", HEADER, HEADER[:-1] + ', "X-Release": "next"}'),
        ("functions/pixelprompt/generation/run.py", '"The model\'s turn ended."', '"The turn of the model ended."'),
        ("statemachine/generate_images.asl.json", "The execution's name is the job id.", "The next release."),
    ):
        path = directory / name
        before = path.read_text()
        assert before.count(text) == 1, name
        path.write_text(before.replace(text, changed))
    return directory


def test_a_deployment_does_not_disturb_the_jobs_that_run(service: Service, tmp_path: Path) -> None:
    release = next_release(tmp_path / "release")
    with service.held():
        job_id = service.generate()
        service.wait(job_id, lambda job: all(row["status"] != "pending" for row in job["results"]))
        began = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "local", "--directory", str(service.cloud.directory), "up"],
            cwd=release,
            # As the cloud was started, so that emulator and simulators stay.
            env={**os.environ, "PYTHONPATH": str(release), "SIMULATOR_LATENCY": "0-0.2", "ENFORCE_IAM": "1"},
            check=True,
            capture_output=True,
            timeout=120,
        )
        took = time.monotonic() - began
        # Its keys are those of the simulators now.
        put_canaries(service.cloud)
        running = service.cloud.request("GET", f"/status/{job_id}")
        assert running.headers["x-release"] == "next", "the next release is not in force"
        assert running.json()["status"] == "in_progress", f"the deployment took {took:.0f} s, the job fewer"
    job = service.wait(job_id)
    assert (job["status"], job["run"], job["schemaVersion"]) == ("completed", 1, 1)
    ids = {model.name: model.id for model in ModelRegistry.load().get_all_models()}
    asked = {row["model"]: len(service.provider_requests(ids[row["model"]])) for row in job["results"]}
    assert asked == dict.fromkeys(asked, 1) and len(asked) == 9
    assert service.run()["status"] == "completed"
