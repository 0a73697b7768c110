"""The environment of every program of a stage: one set of names, read once at start by tidemark.adapters.settings."""

from cdk.constructs.hot_cache import HotCache
from cdk.constructs.trading_database import TradingDatabase
from cdk.names import Names
from cdk.stages import StageConfig

CERTIFICATES_IN_FUNCTION = "/opt/certificates/rds-global-bundle.pem"
CERTIFICATES_IN_TASK = "/app/rds-global-bundle.pem"


def runtime_environment(names: Names, config: StageConfig, database: TradingDatabase, cache: HotCache) -> dict[str, str]:
    """Names and addresses, never a secret's value. A program that does not use a name has no right to what it names either."""
    return {
        "TIDEMARK_STAGE": names.stage,
        "ACCOUNT": config.trading_account,
        "MARKET_DATA_STREAM": names.of("market-data"),
        "FEATURES_STREAM": names.of("features"),
        "SIGNALS_STREAM": names.of("signals"),
        "LAKE_DEPTH_FIREHOSE": names.of("lake-depth"),
        "LAKE_TRADES_FIREHOSE": names.of("lake-trades"),
        "QUARANTINE_BUCKET": names.bucket("lake"),
        "MODEL_BUCKET": names.bucket("models"),
        "MODEL_ENDPOINT": names.of("core"),
        "INSTRUMENTS_PARAMETER": names.parameter("instruments"),
        "MARKET_DATA_SAMPLE": str(config.market_data_sample),
        "DATABASE_SECRET_ARN": database.program_secret.secret_arn,
        "CACHE_ENDPOINT": cache.endpoint,
        "CACHE_SECRET_ARN": cache.secret.secret_arn,
        "CACHE_TLS": "on",
    }
