"""Running workflows: processes and clusters, progress, logs, locks."""
