"""From files to results: the steps that the commands, the workflow and a notebook share."""
