"""What the worker raises on purpose: one tree, with WorkerError at its root.

WorkerError
├── UserSpecError           the spec asks for what cannot work, as only data or torch could show
├── StoreAwayError          the blob store does not answer: another attempt may find it
├── ServerAwayError         the server could not be reached for as long as it was worth trying
├── DamagedError            a checkpoint is not whole, or is not what was written
├── UnreadableError         the store answers, but not for this checkpoint, and may do so later
├── NoModelError            there is no such model, or its file is not what was written
├── ProcessLostError        one of the processes that train together has ended before its time
├── ProcessFailedError      one of the processes that train together has found why the job fails
├── ProtocolError           a process of the sandbox said what cannot be said
├── ForkServerError         the process that forks those of the sandbox is gone
├── SandboxedError          a process of the sandbox has raised what nobody foresaw
├── OwnError                carries an error of the worker's own past those of the sandbox
├── DamagedDataError        stored data are not what was written
├── InputError              what a trained model is asked about does not fit it
├── StoppedError            the run must stop while it computes what never asks whether to go on
├── ExportError             a model cannot be written as ONNX, or predicts something else then
├── MissingIdError          the column to copy is not in a file of predictions
├── UploadError             a model was written, and could not be sent to MLflow
├── NotMadeError            plots, a model or a diagnosis cannot be made of what is left
├── NotYetError             another job's outputs are being made; this one's turn comes after
└── TrackingError           MLflow has not done what it was asked to
    ├── TrackingAwayError   nobody answered, or the server refuses everybody: keep and wait
    │   └── NothingDoneError    and nothing of the call can have happened, or happen yet
    │       └── NoSuchCallError     whoever answered does not know the call
    ├── TrackingBusyError   the server failed at this call: keep, and try others meanwhile
    ├── RunGoneError        the run does not exist, or somebody deleted it
    │   └── RunDeletedError     somebody deleted it
    └── RefusedError        this call will never succeed
        └── UnknownCallError    this MLflow does not know it

Those of one module alone stand in that module. A ValueError says that an argument is wrong; bugs
raise whatever Python and torch raise.
"""


class WorkerError(Exception):
    """Anything that the worker raises on purpose."""


class UserSpecError(WorkerError, ValueError):
    """A spec that the server had to accept and that its data or its network shows to be wrong.

    The message says what was found, what is allowed and what to change, with the field's path.
    """


class StoreAwayError(WorkerError):
    """Nobody answered where snapshots and models are kept."""


class NoModelError(WorkerError):
    """There is no such model, or its file is not what was written."""
