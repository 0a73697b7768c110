"""The instruments of a stage as one parameter that every program reads at start."""

import json

import aws_cdk as cdk
from aws_cdk import aws_ssm as ssm
from cdk.names import Names
from constructs import Construct

from tidemark.instruments import lookup

PARAMETER_CHARS_MAX = 4_096  # standard tier


class InstrumentList(Construct):
    """JSON list of `Instrument.to_manifest()`."""

    def __init__(self, scope: Construct, id_: str, *, names: Names, symbols: tuple[str, ...]) -> None:
        super().__init__(scope, id_)
        text = json.dumps([lookup(symbol).to_manifest() for symbol in symbols], separators=(",", ":"))
        assert len(text) <= PARAMETER_CHARS_MAX, f"{len(text)} characters of instruments do not fit one standard parameter"
        self.parameter = ssm.StringParameter(
            self, "Parameter", parameter_name=names.parameter("instruments"), string_value=text, description="Instruments of the stage"
        )
        cdk.CfnOutput(self, "InstrumentsParameter", value=self.parameter.parameter_name)
