"""The model endpoint. The artefacts it serves live in the data stack's registry."""

from typing import Any

import aws_cdk as cdk
from cdk.constructs.keys import DataKeys
from cdk.constructs.model_endpoint import ModelEndpoint
from cdk.names import Names
from cdk.stacks.data import DataStack
from cdk.stages import StageConfig
from constructs import Construct


class ModelsStack(cdk.Stack):
    """Deploy after an artefact has been put under ARTEFACT_KEY: SageMaker reads it when it makes the endpoint."""

    def __init__(
        self, scope: Construct, id_: str, *, config: StageConfig, names: Names, keys: DataKeys, data: DataStack, **kwargs: Any
    ) -> None:
        super().__init__(scope, id_, **kwargs)
        seen = keys.seen_from(self)
        self.endpoint = ModelEndpoint(self, "Core", names=names, config=config, registry=data.registry, key=seen.models, logs_key=seen.logs)
