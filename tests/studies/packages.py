"""Packages that ship data, from PyPI and npm, unpacked and not installed."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

_OF_PYPI = (
    "palmerpenguins==0.1.6",
    "statsmodels==0.15.0",
    "vega_datasets==0.9.0",
    "stardist==0.9.2",
    "deepforest==2.1.0",
)
# The last version that has each picture once; later ones have 60 MB.
_OF_NPM = "emoji-datasource-twitter@4.0.4"


def download(folder: Path) -> Path:
    """Download the packages, 36 MB of PyPI and 27 MB of npm, and unpack them.

    Without npm its package is left out.

    Args:
        folder: For the files.

    Returns:
        The folder with what is in them.
    """
    unpacked = folder / "unpacked"
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder)]
    subprocess.run([*pip, *_OF_PYPI], check=True)
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(unpacked)
    npm = shutil.which("npm")
    if npm is not None:
        subprocess.run([npm, "pack", "-s", _OF_NPM], cwd=folder, check=True)
        for package in folder.glob("*.tgz"):
            with tarfile.open(package) as archive:
                archive.extractall(unpacked, filter="data")
    return unpacked
