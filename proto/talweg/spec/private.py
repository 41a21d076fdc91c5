"""Folders that only their owner enters.

What servers and workers write holds people's data and models, and a system's umask lets everybody
read it. So the folders that they make themselves are closed. One that an operator has made keeps
its mode: services of several users may share it.
"""

from pathlib import Path

MODE = 0o700
"""Of such a folder."""


def make_private_folder(folder: Path) -> None:
    """Make a folder that only this user enters, where there is none.

    Args:
        folder: Its parents are made too, with the mode that the umask leaves.

    Raises:
        OSError: It cannot be made.
    """
    folder.mkdir(mode=MODE, parents=True, exist_ok=True)
