"""Real-time endpoints: variants, their instances, routing, updates and healing."""
