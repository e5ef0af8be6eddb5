"""Salesforce, simulated."""
