"""A session on a whole stack: its jobs are tested when it is closed, by their kept weights."""

from tests.integration.stack import Stack, tiny_spec

from talweg.client import Client


def test_closing_a_session_tests_the_weights_as_the_jobs_would_have(stack: Stack) -> None:
    training = {
        "epochs": 12,
        "early_stopping": {"metric": "val/mae", "patience": 2},
        # Overshoots, so that the best weights are not the last.
        "batch_size": 8,
    }
    spec = tiny_spec(training=training, optimizer={"adamw": {"learning_rate": 0.3}})
    with Client(stack.address) as client:
        alone = client.submit(spec).wait()
        job = client.submit({**spec, "session": "whole"}).wait()
        assert not [name for name in job.metrics().summaries if name.startswith("test/")]
        assert job.outcome is not None
        assert job.outcome.weights_step < job.message.progress.step
        session = client.session("whole").close().wait()
        (result,) = session.message.tests
        (test,) = (client.job(name) for name in result.jobs)
        measured = test.metrics().summaries
        expected = alone.metrics().summaries
        names = [name for name in expected if name.startswith(("test/", "trivial/"))]
        assert "test/mae" in names
        # Bit for bit, as one spec has one result.
        assert {n: measured[n].last for n in names} == {n: expected[n].last for n in names}
        assert session.message.num_failed_tests == 0
