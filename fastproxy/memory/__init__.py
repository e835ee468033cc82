"""Who gets memory: slabs, spill file, and the policy that decides."""
