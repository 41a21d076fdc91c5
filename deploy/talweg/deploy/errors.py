"""The errors of `talweg up`; each ends it with status 1.

DeployError
├── BrokerNotFoundError    no broker is configured or installed
├── FolderInUseError       another `talweg up` uses the data folder
├── PortTakenError         the requested port is taken
├── StartError             an essential service did not start
└── TooManyWorkersError    fewer GPUs than workers
"""


class DeployError(Exception):
    """The base class of all errors of the stack; the message says what to do."""


class BrokerNotFoundError(DeployError):
    """No broker is configured, on PATH or in a package."""


class FolderInUseError(DeployError):
    """Another `talweg up` uses the data folder."""


class PortTakenError(DeployError):
    """The requested port is taken."""


class StartError(DeployError):
    """An essential service could not be started."""


class TooManyWorkersError(DeployError):
    """There are fewer GPUs than workers that were asked for."""
