"""Fetches the certificate bundle of RDS, which programs verify the database by: `python cdk/fetch_certificates.py`, once before a deploy.

The one step of the infrastructure code that uses the network. AWS publishes no digest of the bundle; what vouches for it is the
TLS certificate of AWS's own host.
"""

import os
import ssl
import sys
import tempfile
import urllib.request
from pathlib import Path

URL = "https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem"
TARGET = Path(__file__).resolve().parents[1] / ".tidemark" / "certificates" / "rds-global-bundle.pem"
BYTES_MAX = 2_000_000
TIMEOUT_S = 30
CERTIFICATES_MIN = 10  # one per region and key type; an error page has none


def main() -> int:
    """Exit codes: 0 fetched, 1 the host did not answer with certificates."""
    try:
        with urllib.request.urlopen(URL, timeout=TIMEOUT_S, context=ssl.create_default_context()) as reply:
            data = reply.read(BYTES_MAX + 1)
    except OSError as error:
        print(f"error: {URL}: {error}", file=sys.stderr)
        return 1
    found = data.count(b"-----BEGIN CERTIFICATE-----")
    if len(data) > BYTES_MAX or found < CERTIFICATES_MIN:
        print(
            f"error: {URL}: got {len(data)} bytes with {found} certificates; expected a bundle of at least {CERTIFICATES_MIN}",
            file=sys.stderr,
        )
        return 1
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=TARGET.parent, delete=False) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(file.name, TARGET)
    print(f"{found} certificates in {TARGET}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
