"""Pure data of the OCI specifications (image, distribution, runtime): strict readers, no I/O."""
