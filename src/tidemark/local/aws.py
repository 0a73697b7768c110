"""The laptop's AWS: a moto server in a process of its own, with the stage's template deployed into it.

    python -m tidemark.local.aws --config FILE

The configuration is an `AwsConfig` as JSON; the resolved resources are written to its `resources_file`, whole or not at all.
"""

import argparse
import os
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tidemark.errors import TidemarkError
from tidemark.local.deploy import StageValues, check, deploy
from tidemark.local.files import write_whole
from tidemark.local.processes import notify_ready
from tidemark.local.resources import StageResources
from tidemark.local.template import read_assembly

KEY_ID = "local"


@dataclass(frozen=True, slots=True)
class AwsConfig:
    """What the child needs: the port it listens on, the assembly it deploys and the values it puts in."""

    port: int
    assembly: str
    resources_file: str
    values: StageValues


class AwsServer:
    """moto behind our Kinesis data plane, served on a thread per connection."""

    def __init__(self, port: int, account: str, region: str) -> None:
        os.environ["MOTO_ACCOUNT_ID"] = account  # read by moto when it is imported
        os.environ["MOTO_PORT"] = str(port)
        os.environ.setdefault("AWS_DEFAULT_REGION", region)
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        from tidemark.local import kinesis_plane
        from tidemark.local.wsgi import WsgiServer

        kinesis_plane.install()
        app = kinesis_plane.KinesisPlane(DomainDispatcherApplication(create_backend_app), account, region)
        self._server = WsgiServer(port, app)
        self.port = self._server.port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True, name="moto")
        self._thread.start()

    @property
    def endpoint(self) -> str:
        """URL for AWS_ENDPOINT_URL."""
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def aws_environment(port: int, region: str, *, firehose_port: int | None = None, model_port: int | None = None) -> dict[str, str]:
    """Variables that point every AWS client at the laptop and hide the user's own account from it."""
    env = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": KEY_ID,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    if firehose_port is not None:
        env["AWS_ENDPOINT_URL_FIREHOSE"] = f"http://127.0.0.1:{firehose_port}"
    if model_port is not None:
        env["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"] = f"http://127.0.0.1:{model_port}"
    return env


def serve(config: AwsConfig) -> tuple[AwsServer, StageResources]:
    """Start the server and deploy into it."""
    assembly = read_assembly(Path(config.assembly))
    check(assembly)
    server = AwsServer(config.port, assembly.account, assembly.region)
    resources = deploy(assembly, server.endpoint, config.values)
    write_whole(Path(config.resources_file), resources.to_json())
    return server, resources


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="The laptop's AWS endpoint")
    parser.add_argument("--config", type=Path, required=True)
    config = msgspec.json.decode(parser.parse_args(argv).config.read_bytes(), type=AwsConfig)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})  # before any thread starts: only sigwait gets them
    try:
        _, resources = serve(config)
    except TidemarkError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    for kind, count in resources.skipped.items():
        sys.stdout.write(f"no counterpart on the laptop: {kind} ({count})\n")
    for name in resources.unresolved:
        sys.stdout.write(f"no value on the laptop: {name}\n")
    sys.stdout.flush()
    notify_ready(port=config.port)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    os._exit(0)  # request threads may hold long polls; they have nothing to save


if __name__ == "__main__":
    sys.exit(main())
