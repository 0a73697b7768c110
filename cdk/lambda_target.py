"""What the Lambda runtime offers, as far as a package depends on it. Source: AWS documentation of runtimes and quotas."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LambdaTarget:
    """`provides` are distributions that the runtime itself has; a package leaves them out."""

    runtime: str
    python: tuple[int, int]
    machine: str
    glibc: tuple[int, int]
    unzipped_bytes_max: int
    provides: frozenset[str]


LAMBDA = LambdaTarget(
    runtime="python3.11",
    python=(3, 11),
    machine="x86_64",
    glibc=(2, 26),  # Amazon Linux 2
    unzipped_bytes_max=250 * 1024 * 1024,
    provides=frozenset({"boto3", "botocore", "s3transfer"}),
)
