"""The definitions: profiles, levels, signals, conditions and audiences."""
