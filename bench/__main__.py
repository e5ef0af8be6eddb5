"""`make bench`: what is measured, and against what. Ratios in one run; machines are noisy."""

from bench import delivery, engine, scoring

print("Render and diff (goal: at least 100 000 records per second, under 1024 MiB at 1 M)\n")
engine.main([])
print("\nScoring: the first run, the next day's, and the same snapshot by hand in SQL\n")
scoring.main([])
print("\nDeliveries into the sandbox, quotas off (the sandbox shares the two cores)\n")
delivery.main([])
