"""Running a SavedModel: loading, signatures, sessions, warm-up."""
