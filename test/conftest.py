"""What holds for all tests: hypothesis without deadlines, since a loaded machine may be slow at any time."""

from hypothesis import HealthCheck, settings

settings.register_profile("tfsd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tfsd")
