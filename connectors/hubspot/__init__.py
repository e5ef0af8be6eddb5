"""HubSpot contacts, companies and their properties."""
