"""Credentials that a vendor gives us: the template makes the place, an operator puts the value."""

import aws_cdk as cdk
from aws_cdk import aws_kms as kms
from aws_cdk import aws_secretsmanager as secretsmanager
from cdk.nag import acknowledge
from constructs import Construct


class VendorSecret(Construct):
    """An empty JSON object until an operator fills it in; programs refuse to start on an empty one."""

    def __init__(
        self, scope: Construct, id_: str, *, name: str, description: str, key: kms.IKey, removal_policy: cdk.RemovalPolicy
    ) -> None:
        super().__init__(scope, id_)
        self.secret = secretsmanager.Secret(
            self,
            "Secret",
            secret_name=name,
            description=description,
            encryption_key=key,
            secret_object_value={},
            removal_policy=removal_policy,
        )
        acknowledge(self.secret, "The vendor has no interface to change a key; an operator does it weekly, see docs.", "AwsSolutions-SMG4")
        cdk.CfnOutput(self, "Arn", value=self.secret.secret_arn)
