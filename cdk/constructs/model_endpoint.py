"""The real-time endpoint of the decision path, with a bounded number of instances."""

import aws_cdk as cdk
from aws_cdk import aws_applicationautoscaling as scaling
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sagemaker as sagemaker
from cdk.constructs.model_registry import ModelRegistry
from cdk.constructs.program_logs import program_logs
from cdk.nag import acknowledge
from cdk.names import Names
from cdk.stages import StageConfig
from constructs import Construct

CONTAINER_ACCOUNT = "763104351884"  # AWS's deep-learning containers
VARIANT = "champion"
ARTEFACT_KEY = "core/serving/model.tar.gz"
INVOCATIONS_PER_INSTANCE_MINUTE = 3_000  # chosen: 50 a second, half of what one CPU core answers at 10 ms a call
INSTANCE_STORE_FAMILIES = ("ml.g4dn.", "ml.g5.", "ml.c5d.", "ml.m5d.")


class ModelEndpoint(Construct):
    """Model, endpoint configuration and endpoint. The first two have no fixed name: a change replaces them, which a fixed name forbids."""

    def __init__(
        self, scope: Construct, id_: str, *, names: Names, config: StageConfig, registry: ModelRegistry, key: kms.IKey, logs_key: kms.IKey
    ) -> None:
        super().__init__(scope, id_)
        self.name = names.of("core")
        self.role = self._role(registry, key, logs_key, config.log_retention_days)
        model = self._model(config, registry)
        model.node.add_dependency(self.role)
        variant = sagemaker.CfnEndpointConfig.ProductionVariantProperty(
            variant_name=VARIANT,
            model_name=model.attr_model_name,
            instance_type=config.inference_instance,
            initial_instance_count=config.inference_count_min,
            initial_variant_weight=1,
        )
        endpoint_config = sagemaker.CfnEndpointConfig(
            self, "Config", production_variants=[variant], kms_key_id=self._volume_key(config, key)
        )
        self.endpoint = sagemaker.CfnEndpoint(
            self, "Endpoint", endpoint_name=self.name, endpoint_config_name=endpoint_config.attr_endpoint_config_name
        )
        self._scale(config)
        cdk.CfnOutput(self, "EndpointName", value=self.name)
        cdk.CfnOutput(self, "ModelArtefact", value=f"s3://{registry.bucket.bucket_name}/{ARTEFACT_KEY}")

    def _role(self, registry: ModelRegistry, key: kms.IKey, logs_key: kms.IKey, log_days: int) -> iam.Role:
        role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("sagemaker.amazonaws.com"))
        stack = cdk.Stack.of(self)
        role.add_to_policy(iam.PolicyStatement(actions=["s3:GetObject"], resources=[registry.bucket.arn_for_objects(ARTEFACT_KEY)]))
        role.add_to_policy(iam.PolicyStatement(actions=["kms:Decrypt", "kms:CreateGrant", "kms:DescribeKey"], resources=[key.key_arn]))
        repository = stack.format_arn(service="ecr", account=CONTAINER_ACCOUNT, resource="repository", resource_name="pytorch-inference")
        role.add_to_policy(
            iam.PolicyStatement(
                actions=["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"], resources=[repository]
            )
        )
        role.add_to_policy(iam.PolicyStatement(actions=["ecr:GetAuthorizationToken"], resources=["*"]))
        role.add_to_policy(
            iam.PolicyStatement(
                actions=["cloudwatch:PutMetricData"],
                resources=["*"],
                conditions={"StringEquals": {"cloudwatch:namespace": ["AWS/SageMaker", "/aws/sagemaker/Endpoints"]}},
            )
        )
        group = program_logs(self, "Logs", name=f"/aws/sagemaker/Endpoints/{self.name}", key=logs_key, days=log_days)
        group.grant_write(role)
        acknowledge(role, "A registry token and namespaced metrics have no resource to name.", "AwsSolutions-IAM5[Resource::*]")
        return role

    def _model(self, config: StageConfig, registry: ModelRegistry) -> sagemaker.CfnModel:
        registry_host = f"{CONTAINER_ACCOUNT}.dkr.ecr.{config.region}.{cdk.Aws.URL_SUFFIX}"
        return sagemaker.CfnModel(
            self,
            "Model",
            execution_role_arn=self.role.role_arn,
            enable_network_isolation=True,  # the container needs the artefact, which SageMaker brings; nothing else goes in or out
            primary_container=sagemaker.CfnModel.ContainerDefinitionProperty(
                image=f"{registry_host}/pytorch-inference:{config.inference_image}",
                model_data_url=f"s3://{registry.bucket.bucket_name}/{ARTEFACT_KEY}",
                environment={
                    "SAGEMAKER_PROGRAM": "inference.py",
                    "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
                    "SAGEMAKER_CONTAINER_LOG_LEVEL": "20",
                    "SAGEMAKER_REGION": config.region,
                    "OMP_NUM_THREADS": "1",
                },
            ),
        )

    def _volume_key(self, config: StageConfig, key: kms.IKey) -> str | None:
        """Instances with their own NVMe disks encrypt them in hardware, and SageMaker refuses a key for those."""
        return None if config.inference_instance.startswith(INSTANCE_STORE_FAMILIES) else key.key_arn

    def _scale(self, config: StageConfig) -> None:
        target = scaling.ScalableTarget(
            self,
            "Scaling",
            service_namespace=scaling.ServiceNamespace.SAGEMAKER,
            scalable_dimension="sagemaker:variant:DesiredInstanceCount",
            resource_id=f"endpoint/{self.name}/variant/{VARIANT}",
            min_capacity=config.inference_count_min,
            max_capacity=config.inference_count_max,
            role=iam.Role.from_role_arn(self, "ScalingRole", self._scaling_role_arn()),
        )
        target.node.add_dependency(self.endpoint)
        target.scale_to_track_metric(
            "Load",
            target_value=INVOCATIONS_PER_INSTANCE_MINUTE,
            predefined_metric=scaling.PredefinedMetric.SAGEMAKER_VARIANT_INVOCATIONS_PER_INSTANCE,
            scale_in_cooldown=cdk.Duration.minutes(10),
            scale_out_cooldown=cdk.Duration.minutes(1),
        )

    def _scaling_role_arn(self) -> str:
        """The service-linked role that Application Auto Scaling uses for endpoints whatever else is named."""
        role = "aws-service-role/sagemaker.application-autoscaling.amazonaws.com/AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
        return cdk.Stack.of(self).format_arn(service="iam", region="", resource="role", resource_name=role)

    def metric(self, name: str, statistic: str) -> cloudwatch.Metric:
        """A metric of the serving variant, per minute."""
        return cloudwatch.Metric(
            namespace="AWS/SageMaker",
            metric_name=name,
            dimensions_map={"EndpointName": self.name, "VariantName": VARIANT},
            statistic=statistic,
            period=cdk.Duration.minutes(1),
        )
