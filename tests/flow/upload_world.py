"""A site, the backend behind it, and the bucket where it stores."""

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.flow.upload_site import Site, write_private
from tests.servers.seaweed import Seaweed
from tests.support.monolith import Monolith
from tests.support.waiting import eventually


class Bucket:
    """A new S3 bucket, seen with boto3."""

    def __init__(self, seaweed: Seaweed, prefix: str) -> None:
        """Its name begins with `prefix`, and no other has it."""
        self.client = seaweed.client()
        self.name = f"{prefix}-{uuid.uuid4().hex}"
        self._seaweed = seaweed
        self.client.create_bucket(Bucket=self.name)

    def table(self, home: Path, **more: Any) -> dict[str, Any]:
        """Of a store that is this bucket; the keys of its user lie beneath `home`."""
        home.mkdir(parents=True, exist_ok=True)
        write_private(home / "access_key", self._seaweed.access_key)
        write_private(home / "secret_key", self._seaweed.secret_key)
        return {
            "type": "s3",
            "bucket": self.name,
            "endpoint": self._seaweed.endpoint,
            "addressing": "path",
            "access_key_file": str(home / "access_key"),
            "secret_key_file": str(home / "secret_key"),
            "part_size": "5MiB",
            **more,
        }

    def read(self, key: str) -> bytes:
        data: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return data

    def keys(self) -> list[str]:
        listed = self.client.list_objects_v2(Bucket=self.name)
        return [row["Key"] for row in listed.get("Contents", ())]

    def unfinished(self) -> list[str]:
        """Keys of multipart uploads nobody completed."""
        listed = self.client.list_multipart_uploads(Bucket=self.name)
        return [row["Key"] for row in listed.get("Uploads", ())]

    def parts(self) -> int:
        """Parts stored of all uploads that nobody completed."""
        listed = self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", ())
        return sum(
            len(
                self.client.list_parts(
                    Bucket=self.name, Key=row["Key"], UploadId=row["UploadId"]
                ).get("Parts", ())
            )
            for row in listed
        )

    def without_unfinished(self) -> None:
        """Wait until no multipart upload is listed."""
        eventually(lambda: not self.unfinished(), "no unfinished upload", within=10)


@dataclass
class UploadWorld:
    """See the module."""

    site: Site
    backend: Monolith
    bucket: Bucket

    def objects(self) -> list[str]:
        """In the bucket and on the disk."""
        return self.bucket.keys() + self.site.objects()

    def nothing_new(self, before: list[str]) -> None:
        """Nothing is held, and there are no more objects than there were."""
        self.site.at_rest()
        self.bucket.without_unfinished()
        # A write that was cut off may appear late; the second look takes it back.
        eventually(lambda: set(self.objects()) <= set(before), "no new object")
