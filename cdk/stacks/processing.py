"""The stream processors. They hold no state that is not also in the cache, and may be replaced at any time."""

from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_lambda as lambda_
from cdk import grants
from cdk.assets import Assets
from cdk.constructs.keys import DataKeys, KeySet
from cdk.constructs.lake import QUARANTINE_PREFIX
from cdk.constructs.processor import Processor
from cdk.constructs.trading_network import TradingNetwork
from cdk.environment import CERTIFICATES_IN_FUNCTION, runtime_environment
from cdk.lambda_target import LAMBDA
from cdk.names import Names
from cdk.stacks.data import DataStack
from cdk.stages import StageConfig
from constructs import Construct


class ProcessingStack(cdk.Stack):
    """market-data → λ market_data → features → λ signal → signals."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        config: StageConfig,
        names: Names,
        keys: DataKeys,
        network: TradingNetwork,
        data: DataStack,
        assets: Assets,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, id_, **kwargs)
        seen = keys.seen_from(self)
        environment = runtime_environment(names, config, data.database, data.cache)
        common: dict[str, Any] = {
            "layer": self._layer(names, assets),
            "environment": {**environment, "PGSSLROOTCERT": CERTIFICATES_IN_FUNCTION},
            "names": names,
            "keys": seen,
            "log_days": config.log_retention_days,
            "vpc": network.vpc,
            "security_group": network.groups.processors,
        }
        self.market_data = Processor(
            self,
            "MarketData",
            folder="market_data",
            code=assets.function("market_data"),
            config=config.market_data,
            source=data.streams.market_data,
            **common,
        )
        self.signal = Processor(
            self, "Signal", folder="signal", code=assets.function("signal"), config=config.signal, source=data.streams.features, **common
        )
        self.processors = (self.market_data, self.signal)
        for processor in self.processors:
            self._grant_common(processor, data, seen)
        self._grant_market_data(data, seen)
        self._grant_signal(data, seen, names)
        assets.report(self)

    def _layer(self, names: Names, assets: Assets) -> lambda_.LayerVersion:
        """Libraries for both functions; a new version replaces the old one, which running functions keep until they are updated."""
        return lambda_.LayerVersion(
            self,
            "Libraries",
            layer_version_name=names.of("libraries"),
            description="Locked third-party libraries and the database's certificates",
            code=assets.layer(),
            compatible_runtimes=[lambda_.Runtime(LAMBDA.runtime, lambda_.RuntimeFamily.PYTHON)],
            compatible_architectures=[lambda_.Architecture.X86_64],
        )

    def _grant_common(self, processor: Processor, data: DataStack, keys: KeySet) -> None:
        grants.read_secret(processor.role, data.database.program_secret, keys.secrets)
        grants.read_secret(processor.role, data.cache.secret, keys.secrets)
        grants.read_parameter(processor.role, data.instruments.parameter)
        grants.put_objects(processor.role, data.lake.bucket, QUARANTINE_PREFIX, keys.lake)

    def _grant_market_data(self, data: DataStack, keys: KeySet) -> None:
        role = self.market_data.role
        grants.put_records(role, data.streams.features.stream, keys.streams)
        data.depth_delivery.grant_put(role)
        data.trades_delivery.grant_put(role)

    def _grant_signal(self, data: DataStack, keys: KeySet, names: Names) -> None:
        role = self.signal.role
        grants.put_records(role, data.streams.signals.stream, keys.streams)
        endpoint = self.format_arn(service="sagemaker", resource="endpoint", resource_name=names.of("core"))
        grants.invoke_endpoint(role, endpoint)
