"""What the variables mean, and what a wrong one is told."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from talweg.worker.settings import Settings


def test_every_variable_is_read() -> None:
    settings = Settings.from_env(
        {
            "TALWEG_ADDRESS": "server:1",
            "TALWEG_BROKER_URL": "redis://broker",
            "TALWEG_TRACKING_URI": "http://tracking/",
            "TALWEG_PUBLIC_TRACKING_URI": "https://public/",
            "TALWEG_SPOOL_DIR": "/spool",
            "TALWEG_BLOBS": "s3://bucket/blobs",
            "TALWEG_DATA_CACHE": "/cache",
            "TALWEG_DATA_CACHE_BYTES": "1000",
            "TALWEG_PREDICT_MEMORY_BYTES": "2000000000",
            "TALWEG_SANDBOX": "Require",
            "TALWEG_SANDBOX_MEMORY_BYTES": "3000000000",
            "TALWEG_SANDBOX_DISK_BYTES": "4000",
            "TALWEG_SANDBOX_ENV": "MINE, YOURS",
            "TALWEG_SANDBOX_READ": "/data:/more",
            "TALWEG_QUEUES": "default, cuda",
            "TALWEG_DEVICE": "CUDA",
            "TALWEG_WORKER_NAME": "gpu0",
            "TALWEG_READY_FILE": "/run/ready",
            "TALWEG_VGG_WEIGHTS": "/weights/vgg16.safetensors",
            "TALWEG_MODELS_DIR": "/models",
            "TALWEG_LOG_LEVEL": "debug",
        }
    )
    assert settings == Settings(
        address="server:1",
        broker_url="redis://broker",
        tracking_uri="http://tracking",
        public_tracking_uri="https://public",
        spool_dir=Path("/spool"),
        blobs="s3://bucket/blobs",
        data_cache=Path("/cache"),
        data_cache_bytes=1000,
        predict_memory_bytes=2_000_000_000,
        sandbox="require",
        sandbox_memory_bytes=3_000_000_000,
        sandbox_disk_bytes=4000,
        sandbox_env=("MINE", "YOURS"),
        sandbox_read=(Path("/data"), Path("/more")),
        queues=("default", "cuda"),
        device="cuda",
        worker_name="gpu0",
        ready_file=Path("/run/ready"),
        vgg_weights=Path("/weights/vgg16.safetensors"),
        models_dir=Path("/models"),
        log_level="DEBUG",
    )


def test_an_empty_variable_leaves_the_default() -> None:
    settings = Settings.from_env(
        {"TALWEG_QUEUES": "", "TALWEG_READY_FILE": "", "TALWEG_MODELS_DIR": ""}
    )
    assert settings.queues == ("default",)
    assert settings.ready_file is None
    assert settings.models_dir is None
    # Delivery is another process, and may work in another folder.
    assert settings.spool_dir.is_absolute()
    assert Path(settings.blobs).is_absolute()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("DEVICE", "tpu", "TALWEG_DEVICE must be one of auto, cpu, cuda, but got 'tpu'"),
        ("LOG_LEVEL", "loud", "TALWEG_LOG_LEVEL must be one of .* but got 'LOUD'"),
        ("SANDBOX", "on", "TALWEG_SANDBOX must be one of auto, require, off, but got 'on'"),
        ("SANDBOX_DISK_BYTES", "0", "TALWEG_SANDBOX_DISK_BYTES must be >= 1, but got 0"),
        ("SANDBOX_MEMORY_BYTES", "5", "TALWEG_SANDBOX_MEMORY_BYTES must be 0 or >= 1073741824"),
        ("QUEUES", "a,,b", "TALWEG_QUEUES must name queues joined by commas, but got 'a,,b'"),
    ],
)
def test_a_wrong_value_is_named_with_its_bound(name: str, value: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings.from_env({f"TALWEG_{name}": value})


def test_the_command_says_what_is_wrong_before_it_loads_anything_heavy() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "talweg.client.cli", "worker"],
        env={**os.environ, "TALWEG_DEVICE": "tpu"},
        capture_output=True,
        text=True,
        timeout=360,
    )
    assert run.returncode == 2
    assert "TALWEG_DEVICE must be one of auto, cpu, cuda" in run.stderr
    assert "Traceback" not in run.stderr
