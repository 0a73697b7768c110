"""What must never change about stores: encrypted by our keys, private, over TLS only, and not lost by accident."""

import pytest

from infra.synthesized import Found, Synthesized

HOURS_PER_DAY = 24


def key_of(value: object) -> bool:
    """Whether a property refers to one of our keys (a reference into the foundation stack), not to an AWS-managed one."""
    return "Keys" in str(value)


def statements(policy: Found) -> list[dict[str, object]]:
    document = policy.properties["PolicyDocument"]
    return list(document["Statement"])


def denies(policy: Found, condition: str) -> bool:
    return any(statement["Effect"] == "Deny" and condition in str(statement.get("Condition")) for statement in statements(policy))


def test_every_key_rotates(stage: Synthesized) -> None:
    """A key that never rotates makes one leak last for ever."""
    keys = stage.of("AWS::KMS::Key")
    assert len(keys) == 8, "a key per class of data"
    assert all(key.properties["EnableKeyRotation"] is True for key in keys)


def test_every_store_is_encrypted_by_a_key_of_ours(stage: Synthesized) -> None:
    """An AWS-managed key cannot be cut off from one class of data."""
    for stream in stage.of("AWS::Kinesis::Stream"):
        assert stream.properties["StreamEncryption"]["EncryptionType"] == "KMS", stream
        assert key_of(stream.properties["StreamEncryption"]["KeyId"]), stream
    for queue in stage.of("AWS::SQS::Queue"):
        assert key_of(queue.properties["KmsMasterKeyId"]), queue
    for topic in stage.of("AWS::SNS::Topic"):
        assert key_of(topic.properties["KmsMasterKeyId"]), topic
    for secret in stage.of("AWS::SecretsManager::Secret"):
        assert key_of(secret.properties["KmsKeyId"]), secret
    for group in stage.of("AWS::Logs::LogGroup"):
        assert key_of(group.properties["KmsKeyId"]), group
    for delivery in stage.of("AWS::KinesisFirehose::DeliveryStream"):
        assert key_of(delivery.properties["DeliveryStreamEncryptionConfigurationInput"]["KeyARN"]), delivery
    for cache in stage.of("AWS::ElastiCache::ReplicationGroup"):
        assert key_of(cache.properties["KmsKeyId"]), cache
        assert cache.properties["AtRestEncryptionEnabled"] is True, cache
    for function in stage.of("AWS::Lambda::Function"):
        assert key_of(function.properties["KmsKeyArn"]), function


def test_every_bucket_is_encrypted_versioned_logged_and_closed(stage: Synthesized) -> None:
    """The access log itself is the one exception, twice: S3 delivers logs to no KMS bucket, and a log of the log would never end."""
    buckets = stage.of("AWS::S3::Bucket")
    assert len(buckets) == 4
    for bucket in buckets:
        properties = bucket.properties
        assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}, bucket
        assert properties["VersioningConfiguration"]["Status"] == "Enabled", bucket
        rule = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"][0]["ServerSideEncryptionByDefault"]
        if "access-log" in str(properties["BucketName"]):
            assert rule["SSEAlgorithm"] == "AES256"
        else:
            assert rule["SSEAlgorithm"] == "aws:kms", bucket
            assert key_of(rule["KMSMasterKeyID"]), bucket
            assert properties["LoggingConfiguration"]["LogFilePrefix"], bucket


def test_buckets_queues_and_topics_refuse_what_is_not_tls(stage: Synthesized) -> None:
    """Buckets refuse TLS 1.1 too; for queues and topics AWS itself ended it."""
    policies = stage.of("AWS::S3::BucketPolicy", "AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy")
    guarded = stage.of("AWS::S3::Bucket", "AWS::SQS::Queue", "AWS::SNS::Topic")
    assert len(policies) == len(guarded)
    assert all(denies(policy, "aws:SecureTransport") for policy in policies)
    assert all(denies(policy, "s3:TlsVersion") for policy in policies if policy.type == "AWS::S3::BucketPolicy")


def test_no_database_is_public(stage: Synthesized) -> None:
    """Neither by its flag nor by its subnets."""
    instances = stage.of("AWS::RDS::DBInstance")
    assert len(instances) == 1 + stage.config.database_replica_count
    assert all(instance.properties["PubliclyAccessible"] is False for instance in instances)
    for group in stage.of("AWS::RDS::DBSubnetGroup", "AWS::ElastiCache::SubnetGroup"):
        subnets = group.properties["SubnetIds"]
        assert subnets, group
        assert all("storesSubnet" in str(subnet) for subnet in subnets), group
    assert not [route for route in stage.of("AWS::EC2::Route") if "stores" in route.id], "isolated subnets have no route out"


def test_the_database_encrypts_on_disk_and_on_the_wire(stage: Synthesized) -> None:
    """A replica takes its encryption from the source, and CloudFormation refuses the property there."""
    for instance in stage.of("AWS::RDS::DBInstance"):
        is_replica = "SourceDBInstanceIdentifier" in instance.properties
        assert is_replica or (instance.properties["StorageEncrypted"] is True and key_of(instance.properties["KmsKeyId"]))
        assert not (is_replica and "StorageEncrypted" in instance.properties)
        assert instance.properties["CACertificateIdentifier"] == "rds-ca-rsa4096-g1"
        assert instance.properties["EnableIAMDatabaseAuthentication"] is True
    for group in stage.of("AWS::RDS::DBParameterGroup"):
        parameters = group.properties["Parameters"]
        assert parameters["rds.force_ssl"] == "1"
        assert parameters["ssl_min_protocol_version"] == "TLSv1.2"
        assert parameters["synchronous_commit"] == "on", "the journal's promise"


def test_the_cache_has_tls_and_a_password(stage: Synthesized) -> None:
    """The password is a reference that CloudFormation resolves; its value is in no template."""
    cache = stage.one("AWS::ElastiCache::ReplicationGroup").properties
    assert cache["TransitEncryptionEnabled"] is True
    assert "{{resolve:secretsmanager:" in str(cache["AuthToken"])
    assert cache["MultiAZEnabled"] is True


def test_no_template_holds_a_secret(stage: Synthesized) -> None:
    """Vendor secrets are made empty; the others are generated."""
    for secret in stage.of("AWS::SecretsManager::Secret"):
        assert "GenerateSecretString" in secret.properties or secret.properties["SecretString"] == "{}", secret


@pytest.mark.parametrize("name", ["prod"])
def test_production_keeps_what_holds_state(stages: dict[str, Synthesized], name: str) -> None:
    """Deleting or replacing a stack must not delete history."""
    kept = (
        "AWS::RDS::DBInstance",
        "AWS::S3::Bucket",
        "AWS::Kinesis::Stream",
        "AWS::KMS::Key",
        "AWS::SecretsManager::Secret",
        "AWS::SageMaker::ModelPackageGroup",
        "AWS::ElastiCache::ReplicationGroup",
    )
    for found in stages[name].of(*kept):
        assert found.body["DeletionPolicy"] == "Retain", found
        assert found.body["UpdateReplacePolicy"] == "Retain", found


def test_an_instance_is_never_deleted_in_one_step(stage: Synthesized) -> None:
    """In no stage: a wrong command in the wrong terminal is the common case."""
    assert all(instance.properties["DeletionProtection"] is True for instance in stage.of("AWS::RDS::DBInstance"))


def test_production_backs_up_for_five_weeks_in_two_zones(stages: dict[str, Synthesized]) -> None:
    """Point-in-time recovery over the whole period in which a monthly restore test would notice a broken backup."""
    database = stages["prod"].one("AWS::RDS::DBInstance", DBInstanceIdentifier="tidemark-prod-database").properties
    assert database["BackupRetentionPeriod"] == 35
    assert database["MultiAZ"] is True
    assert database["DeleteAutomatedBackups"] is False


def test_the_audit_trail_is_locked(stage: Synthesized) -> None:
    """Nobody deletes it, an administrator included, for five years in production."""
    audit = next(bucket for bucket in stage.of("AWS::S3::Bucket") if "audit" in str(bucket.properties["BucketName"])).properties
    assert audit["ObjectLockEnabled"] is True
    retention = audit["ObjectLockConfiguration"]["Rule"]["DefaultRetention"]
    assert retention == {"Mode": stage.config.audit_lock.value, "Days": stage.config.audit_retention_days}
    if stage.config.retain_data:
        assert (retention["Mode"], retention["Days"] >= 5 * 365) == ("COMPLIANCE", True)


def test_logs_and_objects_have_an_end(stage: Synthesized) -> None:
    """Storage that only grows is found by the bill."""
    assert all(group.properties["RetentionInDays"] == stage.config.log_retention_days for group in stage.of("AWS::Logs::LogGroup"))
    lake = next(bucket for bucket in stage.of("AWS::S3::Bucket") if "-lake-" in str(bucket.properties["BucketName"]))
    rules = {rule["Id"]: rule for rule in lake.properties["LifecycleConfiguration"]["Rules"]}
    assert [step["StorageClass"] for step in rules["market-data"]["Transitions"]] == ["STANDARD_IA", "GLACIER_IR"]
    assert rules["quarantine"]["Prefix"] == "quarantine/"
    assert rules["quarantine"]["ExpirationInDays"] == stage.config.quarantine_days
    assert all(stream.properties["RetentionPeriodHours"] >= HOURS_PER_DAY for stream in stage.of("AWS::Kinesis::Stream"))


def test_stages_that_trade_change_their_database_passwords_weekly(stage: Synthesized) -> None:
    """The programs' user alternates with its clone, so that no connection breaks."""
    schedules = stage.of("AWS::SecretsManager::RotationSchedule")
    if not stage.config.rotate_secrets:
        assert schedules == []
        return
    assert {schedule.properties["RotationRules"]["ScheduleExpression"] for schedule in schedules} == {"rate(7 days)"}
    kinds = {schedule.properties["HostedRotationLambda"]["RotationType"] for schedule in schedules}
    assert kinds == {"PostgreSQLSingleUser", "PostgreSQLMultiUser"}
