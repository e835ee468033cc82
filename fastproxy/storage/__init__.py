"""Where objects go: a local directory, S3, presigned URLs."""
