"""What can keep `talweg up` from starting or running a stack; each ends it with status 1.

DeployError
├── BrokerNotFoundError    no broker is configured, none is installed
├── FolderInUseError       another `talweg up` has the data folder
├── PortTakenError         the port that was asked for is taken
└── StartError             an essential service did not come up
"""


class DeployError(Exception):
    """The base of all errors that the stack raises on purpose; the message says what to do."""


class BrokerNotFoundError(DeployError):
    """No broker is configured, none is on PATH, none came with a package."""


class FolderInUseError(DeployError):
    """Another `talweg up` has the folder."""


class PortTakenError(DeployError):
    """The port that was asked for is taken."""


class StartError(DeployError):
    """An essential service could not be started."""
