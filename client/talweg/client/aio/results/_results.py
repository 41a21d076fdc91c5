# Made by client/make_asyncio.py from ../../results/_results.py: change that module.
"""What a job gives once it has ended: its files, its model, predictions."""

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, overload

from talweg.client._errors import FailedPrecondition, MissingExtra, NotFound
from talweg.client._handle import Seconds
from talweg.client._values import RegisteredModel
from talweg.client.aio._handle import JobHandle
from talweg.client.aio.results import _artifacts, _predictions
from talweg.client.results._artifacts import Artifact
from talweg.client.results._results import (
    _MODEL,
    _ONNX,
    _PLOTS,
    _POLL_SECONDS,
    OnnxFile,
    TrainedModel,
    _offered,
)


class JobFiles(JobHandle):
    """A job whose files, model and predictions are asked for."""

    async def artifacts(self, path: str = "") -> list[Artifact]:
        """Return the files that the job has left so far, by path.

        They are there until the job is deleted. Model, tables, logs and evidence are there once
        the job has ended; its plots follow within seconds.

        Args:
            path: A file, or a folder such as ``plots``; all if empty.

        Raises:
            NotFound: There is no such job.
            TalwegError: Another error of the server.
        """
        files, _ = await _artifacts.listed(self._connection, self._named(), path)
        return files

    async def download(
        self,
        path: str = "",
        to: str | os.PathLike[str] = ".",
        *,
        patience: Seconds = 30.0,
        progress: Callable[[Artifact, int], None] | None = None,
    ) -> list[Path]:
        """Download files of the job, and return where they are.

        A file that is there already is not sent again, and a download that broke off goes on.
        Each file appears once its checksum is right. Nothing is written outside the folder.

        Args:
            path: A file, or a folder such as ``plots``; all if empty.
            to: The folder into which they go, under their paths.
            patience: How long to wait for plots that are still being drawn: a timedelta, or
                seconds.
            progress: Called with a file and how many of its bytes have arrived.

        Raises:
            FailedPrecondition: The job has not ended, or its outputs do not ask for the file.
            NotFound: The job has left no such file.
            ServerError: The bytes are not those that the server lists.
            TalwegError: Another error of the server.
            OSError: A file cannot be written.
        """
        files, _ = await self._files(path, patience)
        return [
            await _artifacts.download(
                self._connection,
                self._named(),
                file,
                Path(to),
                progress=progress or (lambda file, num_bytes: None),
            )
            for file in files
        ]

    async def model(self, *, patience: Seconds = 30.0) -> "TrainedModel":
        """Return the trained model, a torch module with its pre- and postprocessing.

        Called with float32 inputs (N, …) as they come from the data it returns predictions in the
        target's units, probabilities, or boxes in pixels. `predict` takes tables and arrays. It is
        on the CPU, in evaluation mode.

        Args:
            patience: As of `download`.

        Raises:
            MissingExtra: PyTorch is not installed here.
            FailedPrecondition: The job has not ended as SUCCEEDED, or its outputs do not ask for
                a model.
            ValueError: The model is a plug-in's, whose package is not installed here.
            TalwegError: Another error of the server.
        """
        load = await self._connection.work(_offered, _MODEL, "to load a model", "worker")
        with tempfile.TemporaryDirectory(prefix="talweg-") as folder:
            await self.download(_MODEL, folder, patience=patience)
            path = Path(folder) / _MODEL
            model: TrainedModel = await self._connection.work(load, path, self._message.spec)
        return model

    @overload
    async def predict(
        self, data: Mapping[str, Iterable[object]], *, remote: Literal[True]
    ) -> dict[str, list[str | int | float]]: ...

    @overload
    async def predict(self, data: Any, *, remote: bool = False) -> Any: ...

    async def predict(self, data: Any, *, remote: bool = False) -> Any:
        """Predict with the trained model; to predict often, keep `model()`.

        A remote prediction is a quick look: a worker computes it within seconds, for at most 1 MiB
        of rows or 8 MiB of pictures, and nothing need be installed here.

        A category that training has not seen is taken as unknown; a `UserWarning` names it.

        Args:
            data: A data frame or a mapping with the model's columns, in any order; an array or
                nested lists (N, …); or the path of a CSV, Parquet or npz file, of a picture, or of
                a folder or a zip archive of pictures.
            remote: Compute on a worker, and not here with PyTorch.

        Returns:
            Of a table a data frame with its index: `prediction`, and `probability_CLASS` of each
            class; else an array. Of pictures a detector gives a row for each box, `prediction`,
            `score`, `x1`, `y1`, `x2`, `y2`, and a segmentation masks by the pictures' names, both
            in the pictures' own pixels. Remotely, of a mapping, of a file with a table and of
            pictures, a mapping of columns to lists in place of a data frame.

        Raises:
            MissingExtra: PyTorch is not installed here; remotely, NumPy is not, and is needed for
                an array.
            ValueError: The data do not fit the model.
            FailedPrecondition: Remotely, no worker is there.
            TalwegError: As `model`.
        """
        if remote:
            task = self._message.spec.task.WhichOneof("kind") or ""
            return await _predictions.predict(self._connection, self._named(), data, task=task)
        model = await self._model_here("predict(…, remote=True)")
        return await self._connection.work(model.predict, data)

    async def predict_file(
        self,
        source: str | os.PathLike[str],
        target: str | os.PathLike[str],
        *,
        id_column: str = "",
        remote: bool = False,
    ) -> int:
        """Write predictions for a file to another, and return the number of rows.

        A category that training has not seen is taken as unknown; a `UserWarning` names it.

        Args:
            source: A .csv, .tsv, .parquet or .npz file, a picture, or a folder or a .zip archive
                of pictures; remotely a table of at most 1 MiB, or pictures of 8 MiB.
            target: A .csv, .tsv, .parquet or .npz file; of masks a .zip or .npz file. There whole
                or not at all.
            id_column: A column, or an array, that is copied. If empty, the one that the job's
                data set names by `id`, where the file has it.
            remote: Compute on a worker, and not here with PyTorch.

        Raises:
            MissingExtra: PyTorch is not installed here.
            ValueError: A format is unknown, the content does not fit the model, or the target is
                the source.
            FailedPrecondition: Remotely, no worker is there.
            TalwegError: As `model`.
            OSError: A file cannot be read or written.
        """
        if os.path.exists(target) and os.path.samefile(source, target):
            raise ValueError(f"{target} is the file to predict for: write to another one")
        if remote:
            return await _predictions.predict_file(
                self._connection, self._named(), Path(source), Path(target), id_column=id_column
            )
        model = await self._model_here(
            "predict_file(…, remote=True), or `talweg predict --remote`"
        )
        return await self._connection.work(
            model.predict_file, Path(source), Path(target), id_column=id_column
        )

    async def export_onnx(
        self, target: str | os.PathLike[str], *, patience: Seconds = 30.0
    ) -> "OnnxFile":
        """Write the trained model as an ONNX file, with its pre- and postprocessing.

        The file takes `x` and gives `y`, float32 and of any number of samples, as the model of
        `model()` does when it is called. Its outputs are compared with PyTorch's before it is
        written.

        Args:
            target: The file.
            patience: As of `download`.

        Raises:
            MissingExtra: ONNX or PyTorch is not installed here.
            FailedPrecondition: As `model`.
            ValueError: The model cannot be exported, or the file would predict something else; or
                it is a plug-in's, whose package is not installed here.
            TalwegError: Another error of the server.
            OSError: The file cannot be written.
        """
        export = await self._connection.work(_offered, _ONNX, "to export a model", "onnx")
        with tempfile.TemporaryDirectory(prefix="talweg-") as folder:
            await self.download(_MODEL, folder, patience=patience)
            path, spec = Path(folder) / _MODEL, self._message.spec
            written: OnnxFile = await self._connection.work(export, path, spec, Path(target))
        return written

    async def register(
        self, name: str, *, alias: str = "", tracking_uri: str | None = None
    ) -> RegisteredModel:
        """Put the trained model into MLflow's registry.

        A model that is registered under the name already keeps its version; the alias moves to it.

        Args:
            name: The registered model; made if it is not there.
            alias: What is to lead to the version, such as ``champion``.
            tracking_uri: The address of MLflow; that of the job's run if None.

        Raises:
            FailedPrecondition: The job's model is not in MLflow, or not yet.
            InvalidRequest: MLflow refuses the name or the alias.
            Unavailable: MLflow does not answer.
            TalwegError: Another error.
        """
        # It loads Python's HTTP client.
        from talweg.client.results._registry import Registry

        tracking = (await self.refresh()).message.tracking
        base = tracking_uri or tracking.url.partition("/#/")[0]
        if not tracking.run_id or not base:
            raise FailedPrecondition(
                f"{self._named()} has no run in MLflow yet: it comes seconds after training has "
                "begun. `talweg status` says what is on its way",
                reason="NO_RUN",
            )
        return await self._connection.work(
            Registry(base).register, name, run_id=tracking.run_id, job=self._named(), alias=alias
        )

    async def _model_here(self, remote_call: str) -> TrainedModel:
        """Return the model; where PyTorch is missing, say how to do without."""
        try:
            return await self.model()
        except MissingExtra as error:
            raise MissingExtra(
                f"{error}. Or let a worker compute it, at most 1 MiB of rows at once: "
                f"{remote_call}",
                reason=error.reason,
            ) from error

    async def _files(self, path: str, patience: Seconds) -> tuple[list[Artifact], bool]:
        """Return the files to download, and whether no more will come; wait for plots a little.

        Raises:
            FailedPrecondition: There are none yet, or none were asked for.
            NotFound: There are none.
        """
        seconds = patience.total_seconds() if isinstance(patience, timedelta) else patience
        until = time.monotonic() + seconds
        name, path = self._named(), path.rstrip("/")
        files, complete = await _artifacts.listed(self._connection, name, path)
        # Only an ended job has plots to wait for.
        if not complete and await self._may_come(name, path, files) and await self._has_ended():
            while not complete and time.monotonic() < until:
                await self._connection.pause(
                    min(_POLL_SECONDS, max(0.0, until - time.monotonic()))
                )
                files, complete = await _artifacts.listed(self._connection, name, path)
        if files:
            return files, complete
        if path:
            await _artifacts.ask_for(self._connection, name, path)
            return await _artifacts.listed(self._connection, name, path)
        if complete:
            raise NotFound(
                f"{name} has left no files: its outputs ask for none. Submit it again with "
                "outputs.model=true or outputs.plots=true",
                reason="ARTIFACT_NOT_FOUND",
            )
        raise FailedPrecondition(
            f"{name} has left no files yet: they are there once it has ended",
            reason="ARTIFACT_NOT_READY",
        )

    async def _may_come(self, name: str, path: str, files: list[Artifact]) -> bool:
        """Return whether waiting may bring what is wanted."""
        if not path or path.partition("/")[0] == _PLOTS:
            return True
        # All others come together: where one is there, those that are not never will be.
        return not files and not (await _artifacts.listed(self._connection, name, ""))[0]

    async def _has_ended(self) -> bool:
        from talweg.v1 import jobs_pb2

        if self._message.HasField("outcome"):
            return True
        request = jobs_pb2.GetJobRequest(name=self._named())
        job = await self._connection.call(self._connection.jobs.GetJob, request)
        return job.HasField("outcome")
