"""The page of a replay's report: a template, its style and its scripts; see `livefactor.replay.report`."""
