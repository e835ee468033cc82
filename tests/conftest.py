"""What holds for all tests."""

from hypothesis import settings

# How long an example takes says something of the machine only.
settings.register_profile("fastproxy", deadline=None)
settings.load_profile("fastproxy")
