"""Asynchronous endpoints: requests that wait in a queue, answers that become objects of S3, and who is told."""
