"""Salesforce records of any object, and their custom fields."""
