"""The client for asyncio: the surface of `Client`, with `await`, `async for` and `async with`.

    from talweg.client import AsyncClient

    async with AsyncClient() as client:
        job = await client.submit("job.yaml")
        print((await job.result()).metrics["test/mae"])

`_transport.py`, `_watchers.py` and `_comparison.py` are written for asyncio. All other modules
here are made by `client/make_asyncio.py` from those of the same names, one folder up.
"""

from talweg.client.aio._client import AsyncClient
from talweg.client.aio._comparison import AsyncComparison
from talweg.client.aio._jobs import AsyncJob
from talweg.client.aio.data._stored import AsyncStoredDataset
from talweg.client.aio.sessions._handle import AsyncSession
from talweg.client.aio.sweeps._answer import AsyncSweepAnswer
from talweg.client.aio.sweeps._sweeps import AsyncSweep

__all__ = [
    "AsyncClient",
    "AsyncComparison",
    "AsyncJob",
    "AsyncSession",
    "AsyncStoredDataset",
    "AsyncSweep",
    "AsyncSweepAnswer",
]
