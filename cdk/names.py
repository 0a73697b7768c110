"""Physical names: the contract between the templates and the programs. One place, so that neither guesses."""

from dataclasses import dataclass

import aws_cdk as cdk

METRIC_NAMESPACE = "Tidemark"
"""Of every metric that our programs write."""


@dataclass(frozen=True)
class Names:
    """Names of one stage. Buckets carry the account id, because bucket names are shared by all accounts."""

    stage: str

    def of(self, part: str) -> str:
        """`tidemark-{stage}-{part}`."""
        return f"tidemark-{self.stage}-{part}"

    def bucket(self, part: str) -> str:
        """Bucket name; the account is resolved by CloudFormation."""
        return f"tidemark-{self.stage}-{part}-{cdk.Aws.ACCOUNT_ID}"

    def parameter(self, part: str) -> str:
        """SSM parameter name."""
        return f"/tidemark/{self.stage}/{part}"

    @property
    def glue_database(self) -> str:
        """Glue and Athena names take no hyphen."""
        return f"tidemark_{self.stage}_lake"
