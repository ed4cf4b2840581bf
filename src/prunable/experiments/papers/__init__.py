"""Published numbers of the papers, one data file a paper."""
