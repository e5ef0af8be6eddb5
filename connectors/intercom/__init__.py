"""Intercom contacts, companies, attributes and tags."""
