"""`make bench`: what is measured, and against whom. Ratios in one run; machines are noisy."""

from bench import delivery, engine

print("Render and diff (goal: at least 100 000 records per second, under 1024 MiB at 1 M)\n")
engine.main([])
print("\nDeliveries into the sandbox, quotas off (the sandbox shares the two cores)\n")
delivery.main([])
