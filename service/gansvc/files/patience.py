"""How long a service that doesn't answer is waited for, in seconds: one table, so that the spans fit each other."""

FRESH = 10
"""For so long a driver's sign of life is enough: to ask a busy cluster for it takes seconds."""
QUIET = 30
"""Without a sign of life for so long, a reader is told of it: a driver gives one every 2 to 10 seconds."""
SILENCE = 60
"""Without one for so long, a job that can't be asked about counts as lost; a new driver isn't missed before."""
CLOCKS = 5
"""By so much two machines' clocks may differ without a word."""
WATCH = 5.0
"""A job that seems silent is watched for so long: two of its driver's periods and a second."""
WATCH_OBJECTS = 21.0
"""The same in an object storage, which a driver writes to less often."""
CLUSTER = 60.0
"""A follower of a log waits so long for a cluster that it can't reach."""
STORAGE = 120.0
"""A storage is asked again for so long after faults that may pass."""
NODE = 120
"""A node of a cluster may take so long to answer the doctor."""
VISIT = 300
"""A visit of a whole cluster may take so long: longer than one of its nodes."""
LIST = 12.0
"""A list of jobs waits so long for all their clusters."""
STOP = 60.0
"""A driver may take so long to end that was told to stop."""
DELETION = 120.0
"""A RayJob may take so long to be gone that was deleted."""
READER = 180
"""A pod that reads a volume may take so long to start."""
