from hypothesis import settings

# the same cases in every run: what lands has passed what the next run will ask; no deadline, as
# others may be at work on the machine
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
