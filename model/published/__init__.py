"""Published judges in the format of `transformers`, which the extra `judges` installs."""
