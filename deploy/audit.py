"""Look the pinned versions up among known vulnerabilities, and list them as a bill of materials.

    python deploy/audit.py             # writes build/sbom.cdx.json, in CycloneDX

The list needs no network; the look-up does. Exit status: 0 if every pin was looked up and none
has a known vulnerability, 1 if one has, 3 if some could not be looked up.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
import uuid
from importlib import metadata
from pathlib import Path
from typing import Any

from requirements import ROOT, pins

CLEAN, VULNERABLE, UNKNOWN = 0, 1, 3


def bill_of_materials() -> dict[str, Any]:
    """List what constraints.txt pins, as CycloneDX 1.6 has it.

    Returns:
        The document. The same pins give the same one.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    components = [_component(*pin) for pin in pins().items()]
    content = json.dumps(components)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": project["name"],
                "name": project["name"],
                "version": project["version"],
                "licenses": [{"expression": project["license"]}],
            }
        },
        "components": components,
        "dependencies": [
            {"ref": project["name"], "dependsOn": [each["bom-ref"] for each in components]}
        ],
    }


def _component(name: str, pin: tuple[str, frozenset[str]]) -> dict[str, Any]:
    version, hashes = pin
    url = f"pkg:pypi/{name}@{version}"
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": url,
        "name": name,
        "version": version,
        "purl": url,
        # One hash a wheel: which of them is installed depends on the machine.
        "externalReferences": [
            {
                "type": "distribution",
                "url": f"https://pypi.org/project/{name}/{version}/",
                "hashes": [{"alg": "SHA-256", "content": each} for each in sorted(hashes)],
            }
        ],
    }
    # What is for other platforms is not here, and older packages do not say it in one expression.
    try:
        expressions = metadata.metadata(name).get_all("License-Expression")
    except metadata.PackageNotFoundError:
        expressions = None
    if expressions:
        component["licenses"] = [{"expression": expressions[0]}]
    return component


def look_up(options: list[str]) -> int:
    """Ask a vulnerability service about every pin, and print what it says.

    Args:
        options: Further options of pip-audit, such as which service to ask.

    Returns:
        The exit status.
    """
    listed = pins()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pins.txt")
        file.write_text("".join(f"{name}=={version}\n" for name, (version, _) in listed.items()))
        done = subprocess.run(
            [sys.executable, "-m", "pip_audit", "--requirement", str(file), "--no-deps",
             "--disable-pip", "--format", "json", "--progress-spinner", "off", *options],
            capture_output=True,
            text=True,
        )  # fmt: skip
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except ValueError:
        reason = done.stderr.strip().splitlines()[-1:] or ["pip-audit said nothing"]
        print(f"The vulnerability service cannot be reached: {reason[0]}")
        print(f"None of the {len(listed)} pins was looked up.")
        return UNKNOWN
    for each in found:
        for fault in each.get("vulns", ()):
            mended = ", ".join(fault["fix_versions"]) or "no release yet"
            print(f"{each['name']} {each['version']}: {fault['id']}, mended in {mended}")
    # pip-audit ends well where the service knows nothing of a release.
    unknown = [each for each in found if "skip_reason" in each]
    faulty = [each for each in found if each.get("vulns")]
    num_known = len(found) - len(unknown)
    print(f"{num_known} of {len(listed)} pins were looked up; {len(faulty)} are vulnerable.")
    if unknown:
        names = ", ".join(each["name"] for each in unknown[:10])
        more = " and others" if len(unknown) > 10 else ""
        print(f"Not looked up: {names}{more}. {unknown[0]['skip_reason']}")
    if faulty:
        return VULNERABLE
    return UNKNOWN if num_known < len(listed) else CLEAN


def main() -> int:
    """Write the bill of materials, and look its components up.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Further options go to pip-audit: --vulnerability-service osv asks another one.",
        allow_abbrev=False,
    )
    parser.add_argument("--sbom", type=Path, default=ROOT / "build/sbom.cdx.json", metavar="FILE")
    arguments, options = parser.parse_known_args()
    document = bill_of_materials()
    arguments.sbom.parent.mkdir(parents=True, exist_ok=True)
    arguments.sbom.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"{arguments.sbom} lists {len(document['components'])} components.", flush=True)
    return look_up(options)


if __name__ == "__main__":
    sys.exit(main())
