"""Images to and from registries, by the OCI distribution specification 1.1. Nothing of HTTP is imported before it is used."""
