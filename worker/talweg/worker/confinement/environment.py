"""The variables that code of others gets: those that compute, and none that opens anything."""

import os
import sys
from collections.abc import Iterable, Mapping

_PASSED = (
    *("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV"),
    *("PYTHONHASHSEED", "PYTHONDONTWRITEBYTECODE", "PYTHONWARNINGS", "PYTHONOPTIMIZE"),
    *("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"),
    *("TALWEG_DEVICE", "TALWEG_VGG_WEIGHTS", "TALWEG_MODELS_DIR", "TALWEG_LOG_LEVEL"),
)
# Of libraries that compute; none of them has a secret.
_PREFIXES = (
    *("OMP_", "MKL_", "OPENBLAS_", "GOMP_", "KMP_", "ATEN_", "TORCH_", "PYTORCH_"),
    *("CUDA_", "CUBLAS_", "CUDNN_", "NVIDIA_", "NCCL_", "GLOO_", "HIP_", "ROCR_", "HSA_"),
)


def cleaned(
    more: Iterable[str] = (), *, environ: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the environment of a process that runs code of others.

    Python finds there what it finds here, wherever the process is started.

    Args:
        more: Names of further variables to pass on, by the operator's will.
        environ: What to choose from; this process's own where None.
    """
    variables = os.environ if environ is None else environ
    names = {*_PASSED, *more}
    passed = {
        name: value
        for name, value in variables.items()
        if name in names or name.startswith(_PREFIXES)
    }
    return passed | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
