"""The BIDS App: all runs of a dataset, from settings to reports."""

from unimo_bids.execution.log import prepare_environment

prepare_environment()  # before nipype is imported, by whatever module of this room
