"""Reports: a page for each participant, a page for all runs, each one file that needs nothing."""
