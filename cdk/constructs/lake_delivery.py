"""Firehose to Parquet: JSON rows in, the published data set's columns and Hive folders out, by the schema of a Glue table."""

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_glue as glue
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kinesisfirehose as firehose
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from cdk.constructs.lake import Lake
from cdk.constructs.program_logs import program_logs
from cdk.grants import folder_finding
from cdk.nag import acknowledge
from cdk.names import Names
from cdk.stages import StageConfig
from constructs import Construct

from tidemark.events import LEVELS

Columns = Sequence[tuple[str, str]]

STAMPS: Columns = (("ts_event_ns", "bigint"), ("ts_recv_ns", "bigint"), ("seq", "bigint"))
DEPTH_COLUMNS: Columns = (
    *STAMPS,
    *(
        (f"{side}_{what}_{level:02d}", kind)
        for side in ("bid", "ask")
        for what, kind in (("px", "bigint"), ("sz", "int"))
        for level in range(LEVELS)
    ),
)
TRADE_COLUMNS: Columns = (*STAMPS, ("px", "bigint"), ("sz", "int"), ("aggressor", "tinyint"))
PARTITIONS: Columns = (("symbol", "string"), ("date", "string"))

BUFFER_MIB = 64  # the least that Parquet conversion with dynamic partitioning accepts
BUFFER_S = 60
PARQUET_INPUT = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat"
PARQUET_OUTPUT = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat"
PARQUET_SERDE = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"


class LakeDatabase(Construct):
    """The Glue database; its tables belong to their deliveries."""

    def __init__(self, scope: Construct, id_: str, *, names: Names) -> None:
        super().__init__(scope, id_)
        self.name = names.glue_database
        self.resource = glue.CfnDatabase(
            self,
            "Database",
            catalog_id=cdk.Aws.ACCOUNT_ID,
            database_input=glue.CfnDatabase.DatabaseInputProperty(name=self.name, description="Market data as the programs received it"),
        )


class LakeDelivery(Construct):
    """One table and the delivery stream that fills it: `{table}/symbol=…/date=…/*.parquet`."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        table: str,
        columns: Columns,
        names: Names,
        config: StageConfig,
        database: LakeDatabase,
        lake: Lake,
        stream_key: kms.IKey,
        lake_key: kms.IKey,
        logs_key: kms.IKey,
    ) -> None:
        super().__init__(scope, id_)
        self.name = names.of(f"lake-{table}")
        self._table, self._lake, self._database = table, lake, database
        glue_table = self._glue_table(columns)
        group = program_logs(self, "Logs", name=f"/tidemark/{names.stage}/{self.name}", key=logs_key, days=config.log_retention_days)
        errors = logs.LogStream(self, "Errors", log_group=group, log_stream_name="delivery", removal_policy=cdk.RemovalPolicy.DESTROY)
        role = self._role(lake_key, stream_key, group)
        self.stream = firehose.CfnDeliveryStream(
            self,
            "Delivery",
            delivery_stream_name=self.name,
            delivery_stream_type="DirectPut",
            delivery_stream_encryption_configuration_input=firehose.CfnDeliveryStream.DeliveryStreamEncryptionConfigurationInputProperty(
                key_type="CUSTOMER_MANAGED_CMK", key_arn=stream_key.key_arn
            ),
            extended_s3_destination_configuration=self._destination(role, lake_key, group, errors),
        )
        self.stream.node.add_dependency(role, glue_table)
        cdk.CfnOutput(self, "DeliveryStreamName", value=self.stream.ref)

    def _glue_table(self, columns: Columns) -> glue.CfnTable:
        column = glue.CfnTable.ColumnProperty
        table = glue.CfnTable(
            self,
            "Table",
            catalog_id=cdk.Aws.ACCOUNT_ID,
            database_name=self._database.name,
            table_input=glue.CfnTable.TableInputProperty(
                name=self._table,
                table_type="EXTERNAL_TABLE",
                parameters={"classification": "parquet", "EXTERNAL": "TRUE"},
                partition_keys=[column(name=name, type=kind) for name, kind in PARTITIONS],
                storage_descriptor=glue.CfnTable.StorageDescriptorProperty(
                    columns=[column(name=name, type=kind) for name, kind in columns],
                    location=f"s3://{self._lake.bucket.bucket_name}/{self._table}/",
                    input_format=PARQUET_INPUT,
                    output_format=PARQUET_OUTPUT,
                    serde_info=glue.CfnTable.SerdeInfoProperty(serialization_library=PARQUET_SERDE),
                ),
            ),
        )
        table.add_resource_dependency(self._database.resource)
        return table

    def _role(self, lake_key: kms.IKey, stream_key: kms.IKey, group: logs.LogGroup) -> iam.Role:
        """What delivery needs and no more: its own folder and error folder, its own table, its own log group."""
        role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("firehose.amazonaws.com"))
        stack, bucket = cdk.Stack.of(self), self._lake.bucket
        folders = [f"{self._table}/", f"errors/{self._table}/"]
        role.add_to_policy(
            iam.PolicyStatement(
                actions=["s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"],
                resources=[bucket.arn_for_objects(f"{folder}*") for folder in folders],
            )
        )
        role.add_to_policy(
            iam.PolicyStatement(
                actions=["s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"], resources=[bucket.bucket_arn]
            )
        )
        glue_arns = [
            stack.format_arn(service="glue", resource="catalog"),
            stack.format_arn(service="glue", resource="database", resource_name=self._database.name),
            stack.format_arn(service="glue", resource="table", resource_name=f"{self._database.name}/{self._table}"),
        ]
        role.add_to_policy(
            iam.PolicyStatement(actions=["glue:GetTable", "glue:GetTableVersion", "glue:GetTableVersions"], resources=glue_arns)
        )
        role.add_to_policy(
            iam.PolicyStatement(actions=["kms:Decrypt", "kms:GenerateDataKey"], resources=[lake_key.key_arn, stream_key.key_arn])
        )
        group.grant(role, "logs:PutLogEvents")
        findings = [folder_finding(bucket, folder) for folder in folders]
        acknowledge(role, "Object names are not known beforehand; the wildcard stays inside this table's own folders.", *findings)
        return role

    def _destination(
        self, role: iam.Role, lake_key: kms.IKey, group: logs.LogGroup, errors: logs.LogStream
    ) -> firehose.CfnDeliveryStream.ExtendedS3DestinationConfigurationProperty:
        f = firehose.CfnDeliveryStream
        partition = "".join(f"{key}=!{{partitionKeyFromQuery:{key}}}/" for key, _ in PARTITIONS)
        return f.ExtendedS3DestinationConfigurationProperty(
            bucket_arn=self._lake.bucket.bucket_arn,
            role_arn=role.role_arn,
            prefix=f"{self._table}/{partition}",
            error_output_prefix=f"errors/{self._table}/!{{firehose:error-output-type}}/!{{timestamp:yyyy-MM-dd}}/",
            buffering_hints=f.BufferingHintsProperty(interval_in_seconds=BUFFER_S, size_in_m_bs=BUFFER_MIB),
            encryption_configuration=f.EncryptionConfigurationProperty(
                kms_encryption_config=f.KMSEncryptionConfigProperty(awskms_key_arn=lake_key.key_arn)
            ),
            cloud_watch_logging_options=f.CloudWatchLoggingOptionsProperty(
                enabled=True, log_group_name=group.log_group_name, log_stream_name=errors.log_stream_name
            ),
            dynamic_partitioning_configuration=f.DynamicPartitioningConfigurationProperty(
                enabled=True, retry_options=f.RetryOptionsProperty(duration_in_seconds=300)
            ),
            processing_configuration=f.ProcessingConfigurationProperty(enabled=True, processors=_processors()),
            data_format_conversion_configuration=self._conversion(role),
        )

    def _conversion(self, role: iam.Role) -> firehose.CfnDeliveryStream.DataFormatConversionConfigurationProperty:
        f = firehose.CfnDeliveryStream
        return f.DataFormatConversionConfigurationProperty(
            enabled=True,
            input_format_configuration=f.InputFormatConfigurationProperty(
                deserializer=f.DeserializerProperty(open_x_json_ser_de=f.OpenXJsonSerDeProperty(case_insensitive=False))
            ),
            output_format_configuration=f.OutputFormatConfigurationProperty(
                serializer=f.SerializerProperty(parquet_ser_de=f.ParquetSerDeProperty(compression="SNAPPY"))
            ),
            schema_configuration=f.SchemaConfigurationProperty(
                catalog_id=cdk.Aws.ACCOUNT_ID,
                database_name=self._database.name,
                region=cdk.Stack.of(self).region,
                role_arn=role.role_arn,
                table_name=self._table,
                version_id="LATEST",
            ),
        )

    def age(self) -> cloudwatch.Metric:
        """How long the oldest row waits for the lake, in s."""
        return cloudwatch.Metric(
            namespace="AWS/Firehose",
            metric_name="DeliveryToS3.DataFreshness",
            dimensions_map={"DeliveryStreamName": self.name},
            statistic="Maximum",
            period=cdk.Duration.minutes(1),
        )

    def grant_put(self, grantee: iam.IGrantable) -> None:
        """May put rows on this delivery stream."""
        iam.Grant.add_to_principal(grantee=grantee, actions=["firehose:PutRecordBatch"], resource_arns=[self.stream.attr_arn])


def _processors() -> list[firehose.CfnDeliveryStream.ProcessorProperty]:
    """A record holds many JSON rows: take them apart, then read the partition keys out of each."""
    f = firehose.CfnDeliveryStream

    def processor(kind: str, **parameters: str) -> firehose.CfnDeliveryStream.ProcessorProperty:
        return f.ProcessorProperty(
            type=kind,
            parameters=[f.ProcessorParameterProperty(parameter_name=name, parameter_value=value) for name, value in parameters.items()],
        )

    query = "{" + ", ".join(f"{key}: .{key}" for key, _ in PARTITIONS) + "}"
    return [
        processor("RecordDeAggregation", SubRecordType="JSON"),
        processor("MetadataExtraction", MetadataExtractionQuery=query, JsonParsingEngine="JQ-1.6"),
    ]
