"""YAML files -> checked settings."""
