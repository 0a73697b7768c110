"""The VPC of a stage with all security groups."""

from typing import Any

import aws_cdk as cdk
from cdk.constructs.keys import DataKeys
from cdk.constructs.trading_network import TradingNetwork
from cdk.names import Names
from cdk.stages import StageConfig
from constructs import Construct


class NetworkStack(cdk.Stack):
    """Holds no state; replacing it replaces addresses."""

    def __init__(self, scope: Construct, id_: str, *, config: StageConfig, names: Names, keys: DataKeys, **kwargs: Any) -> None:
        self._zones = config.availability_zones
        super().__init__(scope, id_, **kwargs)
        self.network = TradingNetwork(self, "Network", names=names, config=config, logs_key=keys.seen_from(self).logs)

    @property
    def availability_zones(self) -> list[str]:
        """From the stage, not looked up: synthesis needs no account."""
        return list(self._zones)
