"""The software bill of materials of the functions' archives, in CycloneDX (https://cyclonedx.org/docs/1.6/json/)."""

import json
import uuid
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# What the CDK names the folder of an archive.
ARCHIVES = "asset.*"
_OURS = "pixel-prompt"
# What some packages write for their license, by its SPDX expression.
_LICENSES = {
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Dual License": "Apache-2.0 OR BSD-3-Clause",  # of python-dateutil
}
# By a package that no other archive has, the name of an archive; without any it is the core.
_NAMES = {"openai": "providers", "pillow": "references"}


def write(assembly: Path) -> list[Path]:
    """Write the bill of each archive with packages in an assembly of the CDK; the files, in its folder ``sbom``."""
    folder = assembly / "sbom"
    written = []
    for archive in sorted(assembly.glob(ARCHIVES)):
        packages: dict[str, metadata.Distribution] = {
            canonicalize_name(d.metadata["Name"]): d for d in metadata.distributions(path=[str(archive)])
        }
        if not packages or not (archive / "pixelprompt").is_dir():
            continue
        name = next((name for package, name in _NAMES.items() if package in packages), "core")
        folder.mkdir(exist_ok=True)
        path = folder / f"{name}.cdx.json"
        path.write_text(_bill(name, packages), encoding="utf-8")
        written.append(path)
    return written


def _bill(name: str, packages: dict[str, metadata.Distribution]) -> str:
    """The bill as JSON, the same for the same packages."""
    components = {key: _component(found) for key, found in sorted(packages.items())}
    ours = Component(name=f"{_OURS}-{name}", type=ComponentType.APPLICATION, bom_ref=_OURS)
    bom = Bom(components=components.values())
    bom.metadata.component = ours
    bom.register_dependency(ours, components.values())
    for key, found in packages.items():
        needed = [components[other] for other in _needs(found) if other in components]
        bom.register_dependency(components[key], needed)
    listed = "\n".join(f"{key}=={found.version}" for key, found in sorted(packages.items()))
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, f"{name}\n{listed}")
    document = json.loads(make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string())
    # Of the moment of writing, which would differ each time.
    del document["metadata"]["timestamp"]
    return json.dumps(document, indent=2) + "\n"


def _component(found: metadata.Distribution) -> Component:
    about = found.metadata.json
    stated = str(about.get("license_expression") or about.get("license") or "")
    # Some packages have the whole text of their license there.
    known = _LICENSES.get(stated, stated)
    licenses = [LicenseFactory().make_from_string(known)] if known and "\n" not in known else []
    name = canonicalize_name(str(about["name"]))
    package_url = PackageURL("pypi", name=name, version=found.version)
    return Component(
        name=name,
        version=found.version,
        type=ComponentType.LIBRARY,
        purl=package_url,
        bom_ref=str(package_url),
        licenses=licenses,
        description=str(about.get("summary", "")) or None,
    )


def _needs(found: metadata.Distribution) -> Iterator[str]:
    """The names of what a package requires itself, its extras left out."""
    for line in found.requires or []:
        requirement = Requirement(line)
        if not requirement.marker or "extra" not in str(requirement.marker):
            yield canonicalize_name(requirement.name)
