"""All stacks of one stage in one app. Order of the arguments is the order of the dependencies."""

from typing import Any

import aws_cdk as cdk

from cdk.assets import Assets
from cdk.names import Names
from cdk.stacks.data import DataStack
from cdk.stacks.execution import ExecutionStack
from cdk.stacks.foundation import FoundationStack
from cdk.stacks.models import ModelsStack
from cdk.stacks.network import NetworkStack
from cdk.stacks.observability import ObservabilityStack
from cdk.stacks.processing import ProcessingStack
from cdk.stages import StageConfig


def build_stage(app: cdk.App, config: StageConfig, assets: Assets) -> list[cdk.Stack]:
    """Stacks `tidemark-{stage}-{name}`. The account stays open: it is the one that deploys."""
    names = Names(config.name)
    common: dict[str, Any] = {
        "config": config,
        "names": names,
        "env": cdk.Environment(region=config.region),
        "tags": {"project": "tidemark", "stage": config.name},
    }
    foundation = FoundationStack(app, names.of("foundation"), **common)
    network = NetworkStack(app, names.of("network"), keys=foundation.keys, **common)
    data = DataStack(app, names.of("data"), keys=foundation.keys, network=network.network, **common)
    models = ModelsStack(app, names.of("models"), keys=foundation.keys, data=data, **common)
    processing = ProcessingStack(
        app, names.of("processing"), keys=foundation.keys, network=network.network, data=data, assets=assets, **common
    )
    execution = ExecutionStack(
        app,
        names.of("execution"),
        keys=foundation.keys,
        topics=foundation.topics,
        network=network.network,
        data=data,
        assets=assets,
        **common,
    )
    observability = ObservabilityStack(
        app,
        names.of("observability"),
        topics=foundation.topics,
        data=data,
        processing=processing,
        models=models,
        execution=execution,
        **common,
    )
    return [foundation, network, data, models, processing, execution, observability]
