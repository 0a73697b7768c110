"""Where trained models live: artefacts by digest in a bucket, versions and their approval in a package group."""

import aws_cdk as cdk
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sagemaker as sagemaker
from cdk.constructs.lake import OLD_VERSION_DAYS, private_bucket
from cdk.names import Names
from constructs import Construct


class ModelRegistry(Construct):
    """Outlives the endpoint that serves from it, so that a roll-back always has something to roll back to."""

    def __init__(
        self, scope: Construct, id_: str, *, names: Names, key: kms.IKey, access_log: s3.IBucket, removal_policy: cdk.RemovalPolicy
    ) -> None:
        super().__init__(scope, id_)
        self.bucket = private_bucket(
            self,
            "Artefacts",
            name=names.bucket("models"),
            key=key,
            access_log=access_log,
            removal_policy=removal_policy,
            rules=[s3.LifecycleRule(id="old-versions", noncurrent_version_expiration=cdk.Duration.days(OLD_VERSION_DAYS))],
        )
        self.package_group = sagemaker.CfnModelPackageGroup(
            self,
            "Packages",
            model_package_group_name=names.of("core"),
            model_package_group_description="Models of the decision path; a version serves once it is approved",
        )
        self.package_group.apply_removal_policy(removal_policy)
        cdk.CfnOutput(self, "ModelBucket", value=self.bucket.bucket_name)
        cdk.CfnOutput(self, "ModelPackageGroup", value=names.of("core"))
