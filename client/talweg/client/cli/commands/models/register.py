"""`talweg register`."""

import click

from talweg.client.cli._common import Session, json_option, print_json, say
from talweg.client.cli._targets import find_jobs
from talweg.client.cli.completions import complete_jobs


@click.command()
@click.argument("job", shell_complete=complete_jobs)
@click.argument("name")
@click.option("--alias", default="", help="What leads to this version, such as champion.")
@click.option(
    "--tracking-uri",
    metavar="URL",
    help="The address of MLflow. Default: that of the job's run, as `talweg open` prints it.",
)
@json_option
@click.pass_obj
def register(
    session: Session, job: str, name: str, alias: str, tracking_uri: str | None, as_json: bool
) -> None:
    """Put the trained model of a job into MLflow's registry, as a new version of NAME.

    A model that is there already keeps its version; the alias moves to it. The address that is
    printed loads it: mlflow.pyfunc.load_model, mlflow models serve -m.
    """
    with session.client() as client:
        (ended,) = find_jobs(client, [job])
        model = ended.register(name, alias=alias, tracking_uri=tracking_uri)
    if as_json:
        content = {"name": model.name, "version": model.version, "alias": model.alias}
        print_json({**content, "uri": model.uri})
        return
    say(f"{model.uri} is version {model.version} of {model.name}")
