"""Self-hosted engagement scoring with a reverse-ETL sync worker."""
