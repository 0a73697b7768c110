"""What must outlive a deploy: database, cache, streams, lake, model registry, secrets. Replacing a resource here loses history."""

from typing import Any

import aws_cdk as cdk
from cdk.constructs.hot_cache import HotCache
from cdk.constructs.instrument_list import InstrumentList
from cdk.constructs.keys import DataKeys
from cdk.constructs.lake import Lake
from cdk.constructs.lake_delivery import DEPTH_COLUMNS, TRADE_COLUMNS, Columns, LakeDatabase, LakeDelivery
from cdk.constructs.market_streams import MarketStreams
from cdk.constructs.model_registry import ModelRegistry
from cdk.constructs.trading_database import TradingDatabase
from cdk.constructs.trading_network import TradingNetwork
from cdk.constructs.vendor_secret import VendorSecret
from cdk.names import Names
from cdk.stages import SYMBOLS, StageConfig
from constructs import Construct


class DataStack(cdk.Stack):
    """Everything that holds state."""

    def __init__(
        self, scope: Construct, id_: str, *, config: StageConfig, names: Names, keys: DataKeys, network: TradingNetwork, **kwargs: Any
    ) -> None:
        super().__init__(scope, id_, termination_protection=config.retain_data, **kwargs)
        seen = keys.seen_from(self)
        keep = cdk.RemovalPolicy.RETAIN if config.retain_data else cdk.RemovalPolicy.DESTROY
        stores: dict[str, Any] = {
            "names": names,
            "config": config,
            "network": network,
            "data_key": seen.trading,
            "secrets_key": seen.secrets,
            "removal_policy": keep,
        }
        self.database = TradingDatabase(self, "Database", logs_key=seen.logs, **stores)
        self.cache = HotCache(self, "Cache", **stores)
        self.streams = MarketStreams(self, "Streams", names=names, config=config, key=seen.streams, removal_policy=keep)
        self.lake = Lake(self, "Lake", names=names, config=config, lake_key=seen.lake, audit_key=seen.trading, removal_policy=keep)
        self.registry = ModelRegistry(self, "Models", names=names, key=seen.models, access_log=self.lake.access_log, removal_policy=keep)
        self.instruments = InstrumentList(self, "Instruments", names=names, symbols=SYMBOLS)
        self.broker = VendorSecret(
            self, "Broker", name=names.of("broker"), description="Broker login", key=seen.secrets, removal_policy=keep
        )
        self.feed = VendorSecret(
            self, "Feed", name=names.of("feed"), description="Market-data vendor login", key=seen.secrets, removal_policy=keep
        )
        glue = LakeDatabase(self, "Catalogue", names=names)

        def delivery(id_: str, table: str, columns: Columns) -> LakeDelivery:
            return LakeDelivery(
                self,
                id_,
                table=table,
                columns=columns,
                names=names,
                config=config,
                database=glue,
                lake=self.lake,
                stream_key=seen.streams,
                lake_key=seen.lake,
                logs_key=seen.logs,
            )

        self.depth_delivery = delivery("DepthDelivery", "depth", DEPTH_COLUMNS)
        self.trades_delivery = delivery("TradesDelivery", "trades", TRADE_COLUMNS)
