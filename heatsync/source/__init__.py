"""Events, users and accounts: read only, through Ibis."""
