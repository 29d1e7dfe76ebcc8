"""Batch transform: objects of S3 cut into records, sent to instances, their answers put together as objects again.

`specification` reads a job's request; `job` runs it; between them stand `inputs`, `splitting`, `payloads`, `sending`
and `data_processing`, each of which knows one step and holds no more than a payload in memory.
"""
